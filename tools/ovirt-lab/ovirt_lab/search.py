"""The engine's search language, as far as backup products use it."""

import fnmatch
import re

CLAUSE = re.compile(r"""([\w.]+)\s*(!=|>=|<=|=|>|<)\s*("[^"]*"|\S+)""")
ENDING = re.compile(r"\s*\bsortby\s+(\w+)(?:\s+(asc|desc))?", re.IGNORECASE)
PAGE = re.compile(r"\s*\bpage\s+(\d+)\s*$", re.IGNORECASE)
KEYS = {"type": "code", "custom_event_id": "custom_id", "message": "description",
        "alias": "name", "event_vm": "vm"}


def select(entities, query):
    """Applies `search`, `max`, `case_sensitive` and `from` to a list of entities."""
    text = query.get("search") or ""
    page, text = _take(PAGE, text)
    order, text = _take(ENDING, text)
    sensitive = query.get("case_sensitive", "true") not in ("false", "f", "0", "n", "no")
    found = [entity for entity in entities if _matches(entity, text.strip(), sensitive)]
    if order:
        key = KEYS.get(order.group(1), order.group(1))
        found.sort(key=lambda entity: str(_value(entity, key)),
                   reverse=(order.group(2) or "").lower() == "desc")
    if query.get("from", "").isdigit():
        found = [entity for entity in found if entity.get("index", 0) > int(query["from"])]
    try:
        size = int(query.get("max", "-1"))
    except ValueError:
        size = -1
    if page:
        length = size if size > 0 else 100
        start = (int(page.group(1)) - 1) * length
        return found[start:start + length]
    return found[:size] if size >= 0 else found


def _take(pattern, text):
    match = pattern.search(text)
    return match, (text[:match.start()] + text[match.end():] if match else text)


def _value(entity, key):
    value = entity
    for part in key.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    if isinstance(value, dict):
        return value.get("name") or value.get("id", "")
    return value


def _matches(entity, text, sensitive):
    if not text:
        return True
    for alternative in re.split(r"\s+or\s+", text, flags=re.IGNORECASE):
        clauses = CLAUSE.findall(alternative)
        if clauses and all(_holds(entity, clause, sensitive) for clause in clauses):
            return True
        if not clauses and _contains(entity, alternative.strip().strip('"')):
            return True
    return False


def _holds(entity, clause, sensitive):
    key, operator, wanted = clause
    key, wanted = KEYS.get(key, key), wanted.strip('"')
    value = str(_value(entity, key))
    if operator in (">", "<", ">=", "<=") and value.isdigit() and wanted.isdigit():
        left, right = int(value), int(wanted)
        return {">": left > right, "<": left < right,
                ">=": left >= right, "<=": left <= right}[operator]
    if not sensitive:
        value, wanted = value.lower(), wanted.lower()
    same = fnmatch.fnmatchcase(value, wanted.replace("[", "[[]"))
    return same if operator != "!=" else not same


def _contains(entity, wanted):
    wanted = wanted.strip("*").lower()
    return any(wanted in str(value).lower() for key, value in entity.items()
               if not key.startswith("_") and isinstance(value, (str, int)))
