"""What can be done with payments."""

from __future__ import annotations

from uuid import UUID

from msgspec.structs import replace

from shop.customers import CustomerId, get_spending_limit
from shop.payments.events import PaymentCaptured, PaymentDeclined
from shop.payments.model import Payment, PaymentId, PaymentStatus, decision
from shop.payments.module import payments as module
from shop.payments.tables import by_filter, payments
from trivet import Money, Page, PageRequest, Read, Write


@module.query(scope="payments.read")
async def get_payment(ctx: Read, id: PaymentId) -> Payment:
    """Return one payment."""
    return await payments.get(ctx, id)


@module.query(scope="payments.read")
async def list_payments(
    ctx: Read, page: PageRequest, reference: UUID | None = None, status: PaymentStatus | None = None
) -> Page[Payment]:
    """List payments, newest first, of one reference or in one status."""
    return await payments.page(ctx, by_filter, page, reference=reference, status=status)


@module.command(internal=True, acts_as="module")
async def charge_payment(ctx: Write, reference: UUID, customer_id: CustomerId, amount: Money) -> Payment:
    """Charge a customer: captured up to the customer's limit, declined above it; an event says which.

    A reference is charged once; asking again returns the first payment.
    """
    earlier = await _charged(ctx, reference)
    if earlier is not None:
        return earlier
    decline = decision(amount, await ctx.call(get_spending_limit, customer_id))
    payment = Payment(
        id=PaymentId(ctx.new_id()),
        reference=reference,
        customer_id=customer_id,
        amount=amount,
        status=PaymentStatus.CAPTURED if decline is None else PaymentStatus.DECLINED,
        decline=decline,
        version=1,
        create_time=ctx.now,
        update_time=ctx.now,
    )
    await payments.insert(ctx, payment)
    if decline is None:
        ctx.emit(PaymentCaptured(payment_id=payment.id, reference=reference))
    else:
        ctx.emit(PaymentDeclined(payment_id=payment.id, reference=reference, decline=decline))
    return payment


@module.command(internal=True, acts_as="module")
async def refund_payment(ctx: Write, reference: UUID) -> None:
    """Give back what was captured for a reference; where nothing was, or it went back already, nothing happens."""
    payment = await _charged(ctx, reference)
    if payment is not None and payment.status is PaymentStatus.CAPTURED:
        await payments.update(ctx, replace(payment, status=PaymentStatus.REFUNDED, update_time=ctx.now))


async def _charged(ctx: Write, reference: UUID) -> Payment | None:
    page = await payments.page(ctx, by_filter, PageRequest(page_size=1), reference=reference)
    return page.items[0] if page.items else None
