"""What the shop sells, and how much of it is left. Other modules import this package, never a module inside it."""

from __future__ import annotations

from shop.catalog.model import (
    MAX_BATCH,
    NewProduct,
    OutOfStock,
    Product,
    ProductId,
    ProductsImported,
    ProductUnknown,
    Quantity,
    SkuTaken,
    StockLine,
)
from shop.catalog.module import catalog
from shop.catalog.operations import (
    create_product,
    delete_product,
    get_product,
    get_products,
    import_products,
    list_products,
    release_stock,
    reserve_stock,
    search_products,
    update_product,
)

__all__ = [
    "MAX_BATCH",
    "NewProduct",
    "OutOfStock",
    "Product",
    "ProductId",
    "ProductUnknown",
    "ProductsImported",
    "Quantity",
    "SkuTaken",
    "StockLine",
    "catalog",
    "create_product",
    "delete_product",
    "get_product",
    "get_products",
    "import_products",
    "list_products",
    "release_stock",
    "reserve_stock",
    "search_products",
    "update_product",
]
