"""Fields of a receipt as JSON that always validates, each with its confidence and its place.

Run ``python -m demos.read_receipt [IMAGE] [--model NAME]``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from vlm import VLM
from vlm.constrain import Constraint
from vlm.fields import evidence_of, fields_of
from vlm.reading.extract import fields_question

RECEIPT = Path(__file__).resolve().parent / "images" / "receipt.png"
SCHEMA = {
    "type": "object",
    "properties": {
        "shop": {"type": "string", "maxLength": 40},
        "date": {"type": "string", "maxLength": 40},
        "total": {"type": "number"},
    },
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the fields, then say of each how sure the model was and where it read it."""
    parser = argparse.ArgumentParser(description="Read the fields of a receipt.")
    parser.add_argument("image", nargs="?", default=str(RECEIPT))
    parser.add_argument("--model", default="mini")
    chosen = parser.parse_args(arguments)

    model = VLM.load(chosen.model)
    receipt = Constraint.schema(SCHEMA)
    answer = model.ask(chosen.image, fields_question(receipt), constraint=receipt, max_tokens=128)
    print(json.dumps(answer.data, ensure_ascii=False))
    for field in fields_of(answer):
        found = evidence_of(answer, field)
        where = "nowhere" if found is None else f"at {found.box}"
        print(f"{field.path}: {field.value!r}, confidence {field.confidence:.2f}, read {where}")


if __name__ == "__main__":
    main()
