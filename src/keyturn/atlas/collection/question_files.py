"""Files of questions, one a topic, and the file of experiments. YAML as :mod:`.front_matter` reads it.

::

    topic: create or deploy
    questions:
      - id: q026
        question: Can RL teach when to use reasoning versus when to respond directly?
        answerable: partly
        missing: longer answers
        roles:
          - {role: answer, says: a router can be learnt, notes: [when-to-think], facts: [when-to-think/1]}
        claims: [degrpo-learns-when-to-think]
        experiments: [gate-by-uncertainty]
"""

from __future__ import annotations

from typing import cast, get_args

from keyturn.atlas.collection.fields import Fields, File
from keyturn.atlas.collection.front_matter import Document, Refused, read_yaml
from keyturn.atlas.collection.objects import Answerable, Asks, Experiment, Question, Role, RoleName

QUESTION_KEYS = (
    "id",
    "question",
    "variants",
    "read-as",
    "asks",
    "if-yes",
    "if-no",
    "answerable",
    "missing",
    "roles",
    "claims",
    "experiments",
    "conflicts",
    "added",
)
ROLE_KEYS = ("role", "says", "notes", "facts", "denies")
EXPERIMENT_KEYS = ("id", "says", "exists", "lacks", "kind", "minutes")


def read_questions(text: str, file: File) -> tuple[Question, ...]:
    """The questions of one file; none where it is refused."""
    document = _document(text, file)
    if document is None:
        return ()
    fields = Fields(file, document, (), ("topic", "questions"))
    topic = fields.text("topic")
    rows = (fields.inside("questions", i, QUESTION_KEYS) for i in fields.items("questions"))
    return tuple(_question(row, topic) for row in rows)


def read_experiments(text: str, file: File) -> tuple[Experiment, ...]:
    """The experiments of one file; none where it is refused."""
    document = _document(text, file)
    if document is None:
        return ()
    fields = Fields(file, document, (), ("experiments",))
    rows = (fields.inside("experiments", i, EXPERIMENT_KEYS) for i in fields.items("experiments"))
    return tuple(
        Experiment(
            id=row.text("id"),
            says=row.text("says"),
            exists=row.text("exists"),
            lacks=row.text("lacks"),
            kind=row.text("kind"),
            minutes=row.number("minutes"),
            place=file.place(row.line_of("id")),
        )
        for row in rows
    )


def _document(text: str, file: File) -> Document | None:
    try:
        return read_yaml(text)
    except Refused as refused:
        file.wrong(refused.line, refused.what, refused.fix)
        return None


def _question(fields: Fields, topic: str) -> Question:
    return Question(
        id=fields.text("id"),
        question=fields.text("question"),
        variants=fields.texts("variants"),
        read_as=fields.text("read-as", needed=False),
        topic=topic,
        asks=cast(Asks, fields.choice("asks", get_args(Asks), "open")),
        if_yes=fields.text("if-yes", needed=False),
        if_no=fields.text("if-no", needed=False),
        answerable=cast(Answerable, fields.choice("answerable", get_args(Answerable))),
        missing=fields.text("missing", needed=False),
        roles=tuple(_role(fields.inside("roles", i, ROLE_KEYS)) for i in fields.items("roles")),
        claims=fields.texts("claims"),
        experiments=fields.texts("experiments"),
        conflicts=fields.texts("conflicts"),
        added=fields.switch("added"),
        place=fields.file.place(fields.line_of("id")),
    )


def _role(fields: Fields) -> Role:
    return Role(
        role=cast(RoleName, fields.choice("role", get_args(RoleName))),
        says=fields.text("says", needed=False),
        notes=fields.texts("notes"),
        facts=fields.texts("facts"),
        denies=fields.switch("denies"),
    )
