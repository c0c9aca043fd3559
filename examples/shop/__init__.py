"""A shop of four modules: catalog, customers, orders and payments. `make demo` serves it."""
