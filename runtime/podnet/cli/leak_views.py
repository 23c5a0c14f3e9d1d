"""How the leak detector's report looks."""

from podnet.cli.output import API_VERSION, Form, Item, document, show
from podnet.rig import telling
from podnet.rig.leaks import Found, Report
from podnet.rig.ledger import Maker


def show_report(report: Report, form: Form) -> None:
    """Print what is left, leaks first."""
    items = [_item(found) for found in report.found]
    if form in {Form.JSON, Form.YAML}:
        whole = {
            "apiVersion": API_VERSION,
            "kind": "LeakReport",
            "cycles": report.cycles,
            "invocations": report.invocations,
            "leaks": len(report.leaks),
            "untrue": list(report.untrue),
            "failure": str(report.failure) if report.failure else None,
            "items": items,
        }
        document(whole, form=form)
        return
    show(
        items,
        kind="Leak",
        form=form,
        columns={
            "VERDICT": _verdict,
            "CLASS": lambda item: item["class"],
            "COUNT": lambda item: item["count"],
            "MADE BY": lambda item: item["by"],
            "WHAT": lambda item: item["line"],
        },
        wide={"CYCLES": _cycles, "ALL": lambda item: item["keys"]},
    )


def _item(found: Found) -> dict[str, object]:
    one = found.residue
    fact = one.example
    entry = {
        "what": one.what,
        "kind": fact.kind,
        "key": fact.key,
        "where": fact.where,
        "attributes": {key: list(pair) for key, pair in one.said.items()}
        if one.what == "changed"
        else dict(fact.attributes),
    }
    (line,) = telling.lines([entry])
    return {
        "name": str(fact),
        "leak": one.leak,
        "class": str(one.scope),
        "grows": one.grows,
        "count": len(one.facts),
        "by": list(dict.fromkeys(map(str, found.makers))) or ["nobody's invocation"],
        "madeBy": [_maker(maker) for maker in found.makers],
        **entry,
        "keys": [each.key for each in one.facts],
        "line": line,
    }


def _maker(maker: Maker) -> dict[str, object]:
    return {
        "verb": maker.verb,
        "plugin": maker.plugin,
        "position": maker.position,
        "chain": maker.chain,
        "cycle": maker.cycle,
        "later": maker.later,
    }


def _verdict(item: Item) -> str:
    if not item["leak"]:
        return "stays"
    return "LEAK, grows" if item["grows"] else "LEAK"


def _cycles(item: Item) -> list[int]:
    makers = item["madeBy"]
    return sorted({maker["cycle"] for maker in makers}) if isinstance(makers, list) else []
