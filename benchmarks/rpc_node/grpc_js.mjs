// The same served by grpc-js: `node grpc_js.mjs PORT PROTOS`.

import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [port, protos] = process.argv.slice(2);
const options = { includeDirs: [protos], longs: Number, enums: Number, keepCase: true };
const { SalesService } = grpc.loadPackageDefinition(loader.loadSync("bench/sales/v1/sales.proto", options)).bench.sales.v1;

const server = new grpc.Server();
server.addService(SalesService.service, {
  Level: (call, answer) => answer(null, { level: { sku: call.request.sku, count: 120, reserved: 3 } }),
  Price: (call, answer) => {
    const { customer, currency, lines } = call.request.order;
    const total = lines.reduce((sum, line) => sum + line.quantity * line.unit_price, 0);
    answer(null, { order: { customer, currency, lines, total } });
  },
  Ticks: async (call) => {
    for (let number = 0; number < call.request.count; number++) {
      if (!call.write({ tick: { number, text: "tick" } })) await new Promise((resolve) => call.once("drain", resolve));
    }
    call.end();
  },
});
server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
