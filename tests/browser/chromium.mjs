// Unpacks the Chromium that the package brings into $TMPDIR and prints where it is.
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs24.x"; // with the libraries that a bare machine does not have
const { default: chromium } = await import("@sparticuz/chromium");
console.log(await chromium.executablePath());
