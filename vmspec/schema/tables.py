"""The kinds of value that are tables: one model, or an array of models selected by their ``kind``."""

from collections.abc import Mapping
from typing import Any

from attrs import NOTHING

from vmspec.schema.value import Here, Model, Schema, Value, keys, nearest

TABLES_MAX = 1024  # of one array; a machine has ten devices or so


class Table(Value):
    """A table for a model: its keys are the model's fields."""

    def __init__(self, model: type[Model]) -> None:
        self.model = model

    allowed = "a table"

    def read(self, value: object, here: Here) -> Any:
        if isinstance(value, dict):
            return read_model(self.model, value, here)
        return here.wrong("must be a table", value, f"[{here.path[-1]}]" if here.path else self.allowed)

    def write(self, value: Any) -> Any:
        return write_model(value)

    def schema(self) -> Schema:
        return model_schema(self.model)


class Tables(Value):
    """An array of tables for one model; a tuple in the model above. Each has another value of the key ``unique``,
    if there is one."""

    def __init__(self, model: type[Model], most: int, unique: str | None = None) -> None:
        self.model, self.most, self.unique = model, most, unique

    @property
    def allowed(self) -> str:
        return f"an array of up to {self.most} tables, each with {' and '.join(keys(self.model))}"

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, list):
            return here.wrong("must be an array of tables", value, self.allowed)
        if len(value) > self.most:
            return here.wrong(f"are {len(value):,}", None, f"up to {self.most}")
        read = [Table(self.model).read(item, here.at(index)) for index, item in enumerate(value)]
        if self.unique is not None:
            names = [None if item is None else getattr(item, self.unique) for item in read]
            for index, name in enumerate(names):
                if name is not None and name in names[:index]:
                    here.at(index, self.unique).wrong("is taken already", name)
        return tuple(read)

    def write(self, value: Any) -> Any:
        return [write_model(item) for item in value]

    def schema(self) -> Schema:
        return {"type": "array", "items": model_schema(self.model), "maxItems": self.most}


class Kinds(Value):
    """An array of tables whose ``kind`` names the model; a tuple in the model above."""

    def __init__(self, kinds: Mapping[str, type[Model]]) -> None:
        self.kinds = kinds

    allowed = "an array of tables, each with its kind"

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, list):
            name = here.path[-1]
            return here.wrong("must be an array of tables", value, f"[[{name}]]")
        if len(value) > TABLES_MAX:
            return here.wrong(f"are {len(value):,}", None, f"up to {TABLES_MAX:,}")
        return tuple(self._read_one(item, here.at(index)) for index, item in enumerate(value))

    def _read_one(self, item: object, here: Here) -> Any:
        names = ", ".join(self.kinds)
        if not isinstance(item, dict):
            return here.wrong("must be a table", item, self.allowed)
        if "kind" not in item:
            return here.at("kind").wrong("is missing", None, names)
        kind = item["kind"]
        if not isinstance(kind, str) or kind not in self.kinds:
            near = nearest(kind, self.kinds) if isinstance(kind, str) else None
            return here.at("kind").wrong("unknown kind", kind, names, near)
        rest = {name: value for name, value in item.items() if name != "kind"}
        return read_model(self.kinds[kind], rest, here, extra=("kind",))

    def write(self, value: Any) -> Any:
        names = {model: kind for kind, model in self.kinds.items()}
        return [{"kind": names[type(item)], **write_model(item)} for item in value]

    def schema(self) -> Schema:
        variants = []
        for kind, model in self.kinds.items():
            variant = model_schema(model)
            variant["properties"] = {"kind": {"const": kind}, **variant["properties"]}
            variant["required"] = ["kind", *variant.get("required", ())]
            variants.append(variant)
        return {"type": "array", "items": {"oneOf": variants}}


def read_model(model: type[Model], table: dict[str, object], here: Here, extra: tuple[str, ...] = ()) -> Any:
    """The model of a table, or None if something in it is wrong. ``extra`` keys are known too, and read elsewhere."""
    known = keys(model)
    before = len(here.problems)
    given = {name: name for name in known}  # the name by which each key may be in the table
    for former, name in model.FORMER.items():
        if former in table and name in table:
            here.at(former).wrong(f"is the former name of {name}, which is given too")
        elif former in table:
            here.at(former).warn(f"is now called {name}")
            given[name] = former
    for name in table:
        if name not in known and name not in model.FORMER:
            names = [*extra, *known]
            here.at(name).wrong(
                model.NOT_HERE.get(name, "unknown key"), None, ", ".join(names) or "no keys", nearest(name, names)
            )
    values = {}
    for name, attribute in known.items():
        value: Value = attribute.metadata["value"]
        if given[name] in table:
            values[attribute.name] = value.read(table[given[name]], here.at(given[name]))
        elif attribute.default is NOTHING:
            here.at(name).wrong("is missing", None, value.allowed)
    chosen = [name for name in model.ONE_OF if name in table]
    if model.ONE_OF and not chosen:
        here.wrong(f"one key is missing: {' or '.join(model.ONE_OF)}")
    for name in chosen[1:]:
        if name in model.TOGETHER and chosen[0] in model.TOGETHER:
            continue
        here.at(name).wrong(f"cannot be combined with {chosen[0]}", None, f"one of {', '.join(model.ONE_OF)}")
    if len(here.problems) > before:
        return None
    instance = model(**values)
    for path, message in instance.faults():
        here.at(*path).wrong(message)
    return instance


def write_model(instance: Model) -> dict[str, Any]:
    """The table of a model: all given values, and defaults."""
    table = {}
    for name, attribute in keys(type(instance)).items():
        value = getattr(instance, attribute.name)
        # TOML has no null, and an empty table means nothing.
        if value is not None and value != {}:
            table[name] = attribute.metadata["value"].write(value)
    return table


def model_schema(model: type[Model]) -> Schema:
    """The JSON Schema of a model's table."""
    properties = {}
    required = []
    for name, attribute in keys(model).items():
        value: Value = attribute.metadata["value"]
        properties[name] = {"description": attribute.metadata["doc"], **value.schema()}
        if attribute.default is NOTHING:
            required.append(name)
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if model.__doc__:
        schema["description"] = " ".join(model.__doc__.replace("``", "").split())
    if required:
        schema["required"] = required
    if model.ONE_OF:
        alone = [name for name in model.ONE_OF if name not in model.TOGETHER]
        together: Schema = {"anyOf": [{"required": [name]} for name in model.TOGETHER]}
        schema["oneOf"] = [{"required": [name]} for name in alone] + ([together] if model.TOGETHER else [])
    return schema
