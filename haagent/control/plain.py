"""What an agent tells as JSON, for scripts and over HTTP."""

import json

from google.protobuf.message import Message


def as_json(message: Message) -> str:
    """Return ``message`` as JSON that people can read as well."""
    return json.dumps(values_of(message), indent=2)


def values_of(message: Message) -> dict[str, object]:
    """Return ``message`` as JSON values: every field, null where it is absent.

    Not protobuf's own JSON mapping: that makes strings of 64-bit numbers and leaves absent
    fields out, and both trip scripts.
    """
    plain: dict[str, object] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.has_presence and not message.HasField(field.name):
            plain[field.name] = None
        elif field.message_type is None:
            plain[field.name] = list(value) if field.is_repeated else value
        elif field.is_repeated:
            plain[field.name] = [values_of(item) for item in value]
        else:
            plain[field.name] = values_of(value)
    return plain
