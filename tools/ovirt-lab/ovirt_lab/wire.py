"""Documents of the engine: plain dicts inside, XML through the official SDK's readers and writers
outside, and the engine's JSON made of that XML."""

import datetime
import json
import re
import xml.etree.ElementTree as ET

from ovirtsdk4 import reader as sdk_reader
from ovirtsdk4 import writer as sdk_writer
import ovirtsdk4.readers  # noqa: F401  registers the readers
import ovirtsdk4.writers  # noqa: F401  registers the writers

from . import links

BASE = "/ovirt-engine/api"
HEAD = ("actions", "name", "description", "comment", "creation_status", "link")
STRUCTURES = {"initialization", "nic_configurations"}
SINGULARS = {"properties": "property", "policies": "policy", "statuses": "status"}
#: Members whose values are words of a fixed set.
WORDS = {"status", "format", "storage_type", "content_type", "snapshot_status", "snapshot_type",
         "phase", "direction"}
DATE = re.compile(r"(^|_)(date|time)$")


class BadDocument(Exception):
    """A body that cannot be understood."""


def singular(plural):
    """The tag of the members of a collection."""
    return SINGULARS.get(plural) or (plural[:-1] if plural.endswith("s") else plural)


def _text(value):
    if value is True or value is False:
        return "true" if value else "false"
    return str(value)


def to_tree(tag, value):
    """An element from a dict, a list or a scalar; keys that begin with `_` are private."""
    element = ET.Element(tag)
    if isinstance(value, list):
        for item in value:
            element.append(to_tree(singular(tag), item))
    elif isinstance(value, dict):
        for key, member in value.items():
            if member is None or key.startswith("_"):
                continue
            if key in ("id", "href", "rel"):
                element.set(key, str(member))
            else:
                element.append(to_tree(key, member))
    else:
        element.text = _text(value)
    return element


# Texts that can be emptied; the SDK's reader takes an empty one for a missing one.
EMPTIED = ("comment", "description")


def through_sdk(tree):
    """What the official SDK reads from `tree` and writes again."""
    name = tree.tag
    document = sdk_reader.Reader.read(ET.tostring(tree))
    text = sdk_writer.Writer.write(document, root=name)
    return ET.fromstring(text)


def parse(body, content_type, root):
    """A request's body as an object of the SDK's types."""
    if not body.strip():
        return None
    if "json" in content_type:
        try:
            document = json.loads(body)
        except ValueError as error:
            raise BadDocument(f"Unexpected content: {error}") from error
        tree = _tree_from_json(root, document)
        _refuse_unknown(tree, through_sdk(_copy(tree)))
    else:
        try:
            tree = ET.fromstring(body)
        except ET.ParseError as error:
            raise BadDocument(str(error)) from error
        if tree.tag != root:
            raise BadDocument(f"unexpected element \"{tree.tag}\"")
    try:
        given = sdk_reader.Reader.read(ET.tostring(tree))
    except ValueError as error:
        raise BadDocument(str(error)) from error
    for name in EMPTIED:
        member = tree.find(name)
        if member is not None and not member.text:
            setattr(given, name, "")
    return given


def _copy(tree):
    return ET.fromstring(ET.tostring(tree))


def _tree_from_json(tag, value):
    element = ET.Element(tag)
    if isinstance(value, dict):
        for key, member in value.items():
            if key in ("id", "href", "rel"):
                element.set(key, str(member))
            elif isinstance(member, list):
                for item in member:
                    element.append(_tree_from_json(key, item))
            elif member is not None:
                element.append(_tree_from_json(key, member))
    elif DATE.search(tag) and isinstance(value, int):
        element.text = date(value / 1000)
    else:
        element.text = _text(value)
    return element


def _refuse_unknown(given, known):
    """The engine refuses members of JSON that it does not know."""
    names = {child.tag for child in known}
    for child in given:
        if child.tag in ("link", "actions"):
            continue
        if child.tag not in names and (len(child) or (child.text or "")):
            raise BadDocument(f"Unrecognized field \"{child.tag}\"")
    for child in given:
        twin = known.find(child.tag)
        if twin is not None and len(child) and child.tag != "data":
            _refuse_unknown(child, twin)


def date(seconds):
    """The engine's form of a moment."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds")


def render(tag, value):
    """A complete document as an element tree, with links, actions and the engine's order."""
    given = to_tree(tag, value)
    tree = through_sdk(given)
    _keep_lost(given, tree)
    _finish(tree)
    return tree


def _keep_lost(given, tree):
    """The engine shows empty texts, and a later one words that this SDK does not know: the SDK's
    reader takes both for missing ones."""
    for child in given:
        is_lost = not len(child) and not child.attrib and tree.find(child.tag) is None
        if is_lost and (not child.text or child.tag in WORDS):
            ET.SubElement(tree, child.tag).text = child.text
    for tag in {child.tag for child in given}:
        for one, twin in zip(given.findall(tag), tree.findall(tag)):
            _keep_lost(one, twin)


def _finish(element):
    for child in element:
        _finish(child)
        if DATE.search(child.tag) and child.text and "T" in child.text:
            child.text = _milliseconds(child.text)
    links.decorate(element)
    order = {name: rank for rank, name in enumerate(HEAD)}
    element[:] = sorted(element, key=lambda child: order.get(child.tag, len(HEAD)))


def _milliseconds(text):
    moment = datetime.datetime.fromisoformat(text)
    return moment.isoformat(timespec="milliseconds")


def xml_bytes(tree):
    """An answer in XML."""
    head = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    return head + ET.tostring(tree, encoding="utf-8", short_empty_elements=False)


def json_bytes(tree):
    """An answer in JSON: no root, numbers and booleans as strings, dates as numbers."""
    return json.dumps(_json_value(tree)).encode()


def _json_value(element):
    if not len(element) and not element.attrib:
        text = element.text or ""
        if DATE.search(element.tag) and "T" in text:
            return int(datetime.datetime.fromisoformat(text).timestamp() * 1000)
        if not text and (element.tag in STRUCTURES or links.is_collection(element.tag)):
            return {}
        return text
    value = {}
    for child in element:
        member = _json_value(child)
        if child.tag == "link" or _is_member(element.tag, child.tag):
            value.setdefault(child.tag, []).append(member)
        else:
            value[child.tag] = member
    value.update(element.attrib)
    return value


def _is_member(parent, child):
    return parent != child and singular(parent) == child
