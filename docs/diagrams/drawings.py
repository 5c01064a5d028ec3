"""The diagrams of the README and of docs/architecture.md."""

from common.events import (
    OrderPaid,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    OrderPlaced,
    PaymentAuthorized,
    PaymentCaptured,
)
from docs.diagrams import facts
from docs.diagrams.canvas import Canvas

WIDTH = 1200
STREAM_GAP = 14
FIRST_COLUMN = 330
"""Where the first service of the event flow is, right of the longest subject."""


def header() -> str:
    """The name, the promise, and a hundred tickets of which none is sold twice."""
    c = Canvas(WIDTH, 340)
    c.box(1, 1, WIDTH - 2, 338, "paper", 24)
    c.ticket(64, 78, 58, 42, "solid")
    c.text(140, 100, "Souk", "huge")
    c.text(66, 192, "Nothing is sold twice. No money is lost.", "claim accent")
    c.text(66, 236, "An event-driven marketplace: FastAPI services that own their data")
    c.text(66, 262, "and publish events over NATS JetStream. One command on a laptop,")
    c.text(66, 288, "the same code on Kubernetes.")
    for row in range(6):
        for column in range(7):
            place = row * 7 + column
            kind = "solid" if place % 9 in (0, 1, 3, 4, 6, 8) else "held" if place % 9 == 5 else "hollow"
            c.ticket(724 + column * 60, 46 + row * 43, 48, 32, kind)
    return c.svg("Souk: nothing is sold twice, no money is lost")


def kubernetes_flow() -> str:
    """How a request finds its service: host, ingress, path, service, its own database; and the bus beside them."""
    routes, stores = facts.routes(), facts.stores()
    names = sorted(stores, key=lambda name: (name not in routes, "/" not in routes.get(name, []), name))
    row, top = 84, 112
    bottom = top + row * len(names)
    middle = top + row * len(routes) / 2
    c = Canvas(WIDTH, bottom + 74)
    c.box(1, 1, WIDTH - 2, c.height - 2, "paper", 24)
    c.text(40, 44, "The path of a request", "title")
    c.text(1000, 80, "own data", "small soft", "middle")
    c.text(730, 80, "Service and its pods", "small soft", "middle")
    c.box(40, middle - 50, 130, 100)
    c.text(105, middle - 16, "Browser", "strong", "middle")
    c.text(105, middle + 12, "souk.test", "mono soft", "middle")
    c.arrow((170, middle), (226, middle), kind="hot")
    c.box(230, top + 8, 150, row * len(routes) - 24, "wash")
    c.text(305, middle - 30, "Ingress", "strong accent", "middle")
    c.text(305, middle - 4, "one route map", "small soft", "middle")
    c.text(305, middle + 18, "TLS, sizes", "small soft", "middle")
    c.box(560, top - 12, 520, row * len(names) + 8, "fence", 16)
    c.text(1068, bottom + 14, "NetworkPolicy: default deny, these edges only", "tiny soft", "end")
    c.box(1108, top - 12, 52, row * len(names) + 8, "bus")
    c.add(
        f'<text class="strong accent" text-anchor="middle" dominant-baseline="central" '
        f'transform="translate(1134 {(top + bottom) / 2 - 8}) rotate(90)">NATS JetStream</text>'
    )
    for number, name in enumerate(names):
        y = top + row * number + 30
        if name in routes:
            c.arrow((380, y), (578, y))
            words = "everything else" if "/" in routes[name] else ", ".join(routes[name])
            c.box(398, y - 14, 150, 28, "chip", 14)
            c.text(473, y, words, "mono", "middle")
        c.box(582, y - 30, 296, 60)
        c.text(602, y, name, "strong")
        for pod in range(2):
            c.box(762 + pod * 54, y - 13, 46, 26, "quiet", 8)
            c.text(785 + pod * 54, y, "pod", "tiny soft", "middle")
        if name not in routes:
            c.text(548, y, "no route", "small soft", "end")
        if store := stores[name]:
            c.arrow((878, y - 8), (946, y - 8))
            c.store(950, y - 28, 100, 46, store)
        c.line((878, y + 20), (1104, y + 20), kind="dashed")
        c.dot(1104, y + 20, 3.5, "solid")
        c.dot(878, y + 20, 3.5, "solid")
    words = "Services exchange events over the bus. Only web calls the others over HTTP, with the visitor's session."
    c.text(40, bottom + 44, words, "small soft")
    return c.svg("A request goes from the browser through the ingress to one service, which has a database of its own")


def event_flow() -> str:
    """Who publishes and who reads: a column for each service, a row for each event."""
    names = list(facts.stores())
    step = (WIDTH - 90 - FIRST_COLUMN) / (len(names) - 1)
    columns = {name: FIRST_COLUMN + number * step for number, name in enumerate(names)}
    owners, y, lines = facts.owners(), 132.0, []
    previous = ""
    for event in facts.events():
        y += STREAM_GAP if previous not in ("", event.stream) else 0
        previous = event.stream
        lines.append((event, y))
        y += 34
    c = Canvas(WIDTH, int(y) + 66)
    c.box(1, 1, WIDTH - 2, c.height - 2, "paper", 24)
    c.text(40, 44, "Who publishes which event, and who reads it", "title")
    for name, x in columns.items():
        c.line((x, 104), (x, y - 8), kind="faint")
        c.box(x - step / 2 + 3, 72, step - 6, 34)
        c.text(x, 89, name, "tiny strong", "middle")
    for event, at in lines:
        owner = columns[owners[event.subject.partition(".")[0]]]
        c.text(40, at, event.subject, "mono")
        readers = {columns[r.service]: "arrow" for r in facts.readers(event) if r.service != "audit"}
        readers |= {columns[name]: "dashed" for name in facts.listeners(event) if columns[name] != owner}
        for x, kind in sorted(readers.items(), key=lambda reader: -abs(reader[0] - owner)):
            c.arrow((owner, at), (x - 8 if x > owner else x + 8, at), kind=kind)
        for x, kind in readers.items():
            c.dot(x, at, 6, "quiet" if kind == "dashed" else "hollow")
        c.dot(owner, at, 7.5, "solid")
    legend = int(y) + 24
    c.dot(48, legend, 7.5, "solid")
    c.text(64, legend, "publishes", "small soft")
    c.dot(158, legend, 6, "hollow")
    c.text(174, legend, "reads: a durable consumer, shared by its replicas", "small soft")
    c.dot(560, legend, 6, "quiet")
    c.text(576, legend, "listens: every replica, for open pages and sessions", "small soft")
    c.text(WIDTH - 40, legend, "audit stores all of them", "small soft", "end")
    return c.svg("For every event: the service that publishes it and the services that read it")


def queue_group() -> str:
    """The path of one event: to one replica of each reader, and how its handling can end."""
    readers = facts.readers(OrderPlaced)
    top, row = 96, 118
    rows = len(readers) + 1
    c = Canvas(WIDTH, top + row * rows + 108)
    c.box(1, 1, WIDTH - 2, c.height - 2, "paper", 24)
    c.text(40, 44, "One event, once per reader, however many replicas", "title")
    middle = top + row * rows / 2
    c.box(40, middle - 60, 150, 112)
    c.text(115, middle - 38, "orders", "strong", "middle")
    c.text(115, middle - 14, "state and event", "small soft", "middle")
    c.text(115, middle + 4, "in one write,", "small soft", "middle")
    c.text(115, middle + 22, "then the relay", "small soft", "middle")
    c.arrow((190, middle - 4), (246, middle - 4), kind="hot")
    c.box(250, middle - 70, 200, 132, "bus")
    c.text(350, middle - 46, "stream ORDERS", "strong accent", "middle")
    for cell in range(6):
        c.box(266 + cell * 28, middle - 26, 24, 40, "solid" if cell == 5 else "quiet", 5)
    c.text(350, middle + 38, OrderPlaced.subject, "mono", "middle")
    for number, reader in enumerate(readers):
        y = top + row * number + 44
        c.arrow((450, middle - 4), (490, middle - 4), (490, y), (534, y), kind="hot")
        c.box(538, y - 34, 276, 68)
        c.text(554, y - 12, "durable consumer", "tiny soft")
        c.text(554, y + 12, f"{reader.service}-{reader.handler}", "mono")
        for replica in sorted(range(3), key=lambda replica: replica == number % 3):
            at = y - 30 + replica * 30
            chosen = replica == number % 3
            c.arrow((814, y), (866, y), (866, at), (906, at), kind="hot" if chosen else "faint")
            c.box(910, at - 12, 250, 24, "wash" if chosen else "quiet", 8)
            c.text(926, at, f"replica {replica + 1}", "small strong" if chosen else "small soft")
            if chosen:
                c.text(1146, at, "handles, acks", "tiny accent", "end")
    y = top + row * (rows - 1) + 44
    c.arrow((450, middle - 4), (490, middle - 4), (490, y), (534, y), kind="dashed")
    c.box(538, y - 34, 276, 68, "quiet")
    c.text(554, y - 12, "one listener per replica", "tiny soft")
    c.text(554, y + 12, "web", "mono")
    for replica in range(2):
        at = y - 15 + replica * 30
        c.arrow((814, y), (866, y), (866, at), (906, at), kind="dashed")
        c.box(910, at - 12, 250, 24, "quiet", 8)
        c.text(926, at, f"replica {replica + 1}", "small")
        c.text(1146, at, "updates open pages", "tiny soft", "end")
    y = top + row * rows + 40
    endings = (
        ("good", "handled", "one guarded write, then ack"),
        ("wash", "failed", f"again after {facts.delays()}"),
        ("bad", "still failing", "a dead letter: seen, fixed, replayed"),
    )
    for place, (kind, words, more) in enumerate(endings):
        x = 40 + place * 380
        c.box(x, y - 26, 360, 56, kind)
        c.text(x + 18, y - 8, words, "strong")
        c.text(x + 18, y + 14, more, "small soft")
    return c.svg("One event goes once to one replica of each durable consumer; every replica of web receives it")


def money_flow() -> str:
    """The path of money: authorized first, then captured or released, as orders says."""
    c = Canvas(WIDTH, 610)
    c.box(1, 1, WIDTH - 2, c.height - 2, "paper", 24)
    c.text(40, 44, "The path of money", "title")
    lanes = {"provider": 130, "payments": 250, "orders": 370}
    for name, y in lanes.items():
        c.line((150, y), (WIDTH - 40, y), kind="faint")
        c.box(40, y - 17, 104, 34)
        c.text(92, y, name, "strong", "middle")
    steps = (
        ("payments", 166, "wash", "intent written", "before any call"),
        ("provider", 280, "card", "authorize", "key: the payment's id"),
        ("payments", 366, "card", "authorized", PaymentAuthorized.subject),
        ("orders", 566, "wash", "held, or free?", "decided with the stock"),
        ("payments", 566, "bad", "release due", OrderPaymentRejected.subject),
        ("provider", 566, "card", "release", "nothing moved"),
        ("payments", 776, "wash", "capture due", OrderPaymentAccepted.subject),
        ("provider", 776, "card", "capture, once", "the money moves"),
        ("payments", 986, "card", "captured", PaymentCaptured.subject),
        ("orders", 986, "good", "paid", OrderPaid.subject),
    )
    for lane, x, kind, words, more in steps:
        y = lanes[lane]
        c.box(x, y - 32, 174, 64, kind)
        c.text(x + 87, y - 11, words, "strong", "middle")
        c.text(x + 87, y + 13, more, "tiny soft", "middle")
    c.arrow((223, 218), (223, 130), (276, 130), kind="hot")
    c.arrow((454, 130), (497, 130), (497, 214), kind="hot")
    c.arrow((453, 282), (453, 370), (562, 370), kind="hot")
    c.arrow((740, 370), (863, 370), (863, 286), kind="hot")
    c.text(758, 352, "yes", "small strong", "middle")
    c.arrow((653, 338), (653, 286))
    c.text(671, 311, "no", "small strong")
    c.arrow((653, 218), (653, 166))
    c.arrow((863, 218), (863, 166), kind="hot")
    c.arrow((950, 130), (1073, 130), (1073, 214), kind="hot")
    c.arrow((1073, 282), (1073, 334), kind="hot")
    endings = (
        ("card", "declined", "No money moved. The hold continues."),
        ("wash", "no answer", "The same call again, under the same key."),
        ("bad", "capture refused", "The units go on sale again. No money moved."),
        ("card", "a method that can't be authorized", "Captured, then the same question; a no is refunded once."),
    )
    for place, (kind, words, more) in enumerate(endings):
        x, y = 40 + place % 2 * 568, 446 + place // 2 * 76
        c.box(x, y, 552, 62, kind)
        c.text(x + 18, y + 20, words, "strong")
        c.text(x + 18, y + 43, more, "small soft")
    return c.svg(
        "A card is authorized first; orders decides whether the money is captured or the authorization released"
    )
