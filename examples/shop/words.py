"""The words that the seed is made of."""

from __future__ import annotations

from trivet import Struct


class Goods(Struct):
    """A kind of thing: what it is made of, and between which prices it is sold."""

    code: str
    name: str
    room: str
    materials: tuple[str, ...]
    low: int
    high: int
    phrase: str


class Place(Struct):
    """A city, its streets and the length of its postal codes."""

    city: str
    country: str
    digits: int
    streets: tuple[str, ...]


WOODS = ("oak", "ash", "walnut", "beech", "pine")
METALS = ("steel", "brass", "aluminium")
FABRICS = ("linen", "wool", "cotton", "velvet")
CLAYS = ("stoneware", "porcelain", "terracotta")

GOODS = (
    Goods(code="CHR", name="chair", room="dining", materials=WOODS, low=79, high=349, phrase="Stacks four high."),
    Goods(code="ARM", name="armchair", room="living", materials=FABRICS, low=249, high=990, phrase="Cover comes off."),
    Goods(code="STL", name="stool", room="kitchen", materials=WOODS + METALS, low=39, high=179, phrase="Fits a bar."),
    Goods(code="TBL", name="table", room="dining", materials=WOODS, low=249, high=1490, phrase="Seats six."),
    Goods(code="DSK", name="desk", room="study", materials=WOODS + METALS, low=189, high=890, phrase="Hides cables."),
    Goods(code="SHF", name="shelf", room="living", materials=WOODS + METALS, low=29, high=399, phrase="Holds 40 kg."),
    Goods(code="BED", name="bed frame", room="bedroom", materials=WOODS, low=299, high=1290, phrase="Slats included."),
    Goods(code="LMP", name="lamp", room="living", materials=METALS + CLAYS, low=39, high=320, phrase="Takes E27."),
    Goods(code="MIR", name="mirror", room="hall", materials=WOODS + METALS, low=35, high=260, phrase="Hooks included."),
    Goods(code="RUG", name="rug", room="living", materials=FABRICS, low=59, high=780, phrase="Does not slip."),
    Goods(code="CUR", name="curtain", room="bedroom", materials=FABRICS, low=29, high=190, phrase="Lined."),
    Goods(code="CSH", name="cushion", room="living", materials=FABRICS, low=15, high=79, phrase="Washable at 40 °C."),
    Goods(code="BLK", name="blanket", room="bedroom", materials=FABRICS, low=39, high=220, phrase="Warm and light."),
    Goods(code="VAS", name="vase", room="living", materials=(*CLAYS, "glass"), low=19, high=150, phrase="Watertight."),
    Goods(code="PLT", name="plate", room="kitchen", materials=CLAYS, low=9, high=45, phrase="Dishwasher safe."),
    Goods(code="MUG", name="mug", room="kitchen", materials=CLAYS, low=8, high=32, phrase="Holds 350 ml."),
    Goods(code="BWL", name="bowl", room="kitchen", materials=CLAYS + WOODS, low=9, high=89, phrase="Stacks."),
    Goods(code="PAN", name="pan", room="kitchen", materials=("iron", "steel"), low=39, high=240, phrase="28 cm."),
    Goods(code="KNF", name="knife", room="kitchen", materials=("steel",), low=19, high=210, phrase="Hand sharpened."),
    Goods(code="BRD", name="cutting board", room="kitchen", materials=WOODS, low=19, high=99, phrase="End grain."),
)

LINES = (
    "Alder", "Amble", "Birk", "Calm", "Dune", "Ebb", "Fjell", "Gable", "Harbour", "Inlet", "Juniper", "Karst", "Loft",
    "Moor", "North", "Orchard", "Pebble", "Quarry", "Ridge", "Skerry", "Tarn", "Upland", "Vale", "Weir", "Yarrow",
)  # fmt: skip

BRANDS = (
    "Nordwald", "Atelier Brun", "Casa Lume", "Holm & Sons", "Kestrel", "Lindqvist", "Maison Verte", "Ostara", "Polder",
    "Quinta", "Rask", "Sillage", "Tesoro", "Umbra Nova", "Vesper", "Werkhaus", "Ystad", "Zephyr", "Albion Works",
    "Brixen", "Corvo", "Dovetail", "Esker", "Fathom",
)  # fmt: skip

GIVEN_NAMES = (
    "Ada", "Alba", "Amir", "Anna", "Bruno", "Carla", "Chiara", "Clara", "Daan", "David", "Elif", "Elin", "Emil",
    "Emma", "Felix", "Freya", "Greta", "Hana", "Hugo", "Ida", "Ines", "Jan", "Jonas", "Julia", "Karim", "Klara",
    "Lars", "Lea", "Leon", "Linnea", "Luca", "Marta", "Mateo", "Mila", "Nadia", "Nina", "Noah", "Olga", "Oscar",
    "Paula", "Pierre", "Rosa", "Samir", "Sofia", "Sven", "Tara", "Theo", "Vera", "Yara", "Zoe",
)  # fmt: skip

FAMILY_NAMES = (
    "Almeida", "Andersen", "Bakker", "Bauer", "Berg", "Bianchi", "Costa", "Dahl", "Dubois", "Duran", "Eriksson",
    "Ferrari", "Fischer", "Garcia", "Haddad", "Hansen", "Hofer", "Horvat", "Jansen", "Kaya", "Keller", "Klein",
    "Kovacs", "Larsen", "Laurent", "Lopez", "Maier", "Martin", "Meyer", "Moreau", "Moreno", "Nielsen", "Novak",
    "Olsen", "Peeters", "Petit", "Ricci", "Romano", "Rossi", "Santos", "Schmid", "Silva", "Smit", "Svensson",
    "Vargas", "Virtanen", "Visser", "Wagner", "Weber", "Wolf",
)  # fmt: skip

PLACES = (
    Place(city="Berlin", country="DE", digits=5, streets=("Lindenstraße", "Torstraße", "Kantstraße", "Weserstraße")),
    Place(city="Hamburg", country="DE", digits=5, streets=("Elbchaussee", "Marktstraße", "Lange Reihe")),
    Place(city="München", country="DE", digits=5, streets=("Sendlinger Straße", "Türkenstraße", "Isartorplatz")),
    Place(city="Wien", country="AT", digits=4, streets=("Neubaugasse", "Praterstraße", "Lerchenfelder Straße")),
    Place(city="Zürich", country="CH", digits=4, streets=("Langstrasse", "Seefeldstrasse", "Niederdorfstrasse")),
    Place(city="Paris", country="FR", digits=5, streets=("Rue Oberkampf", "Rue de Turenne", "Quai de Valmy")),
    Place(city="Lyon", country="FR", digits=5, streets=("Rue Mercière", "Cours Lafayette")),
    Place(city="Milano", country="IT", digits=5, streets=("Via Tortona", "Corso Como", "Via Savona")),
    Place(city="Torino", country="IT", digits=5, streets=("Via Po", "Corso Francia")),
    Place(city="Madrid", country="ES", digits=5, streets=("Calle de Toledo", "Calle Fuencarral", "Gran Vía")),
    Place(city="Barcelona", country="ES", digits=5, streets=("Carrer de Verdi", "Passeig de Gràcia")),
    Place(city="København", country="DK", digits=4, streets=("Vesterbrogade", "Nørrebrogade", "Istedgade")),
    Place(city="Oslo", country="NO", digits=4, streets=("Markveien", "Thorvald Meyers gate")),
    Place(city="Helsinki", country="FI", digits=5, streets=("Fredrikinkatu", "Hämeentie")),
    Place(city="Bruxelles", country="BE", digits=4, streets=("Rue Haute", "Chaussée d'Ixelles")),
)

REASONS = ("ordered twice", "found it elsewhere", "changed my mind", "wrong size", "delivery takes too long")
