"""Ids of text: exact, reversible, and never a control token by typing."""

import json
import re
from pathlib import Path

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm.errors import CheckpointError
from vlm.tokenizer import ABSENT, GemmaTokenizer
from vlm.training.text import CHARSET
from vlm.training.tokenizer import MULTIPLE, build_mini_tokenizer

ROLES = {
    "<pad>": "pad",
    "<eos>": "eos",
    "<bos>": "bos",
    "<start_of_turn>": "start_of_turn",
    "<end_of_turn>": "end_of_turn",
    "<start_of_image>": "start_of_image",
    "<end_of_image>": "end_of_image",
    "<image_soft_token>": "image_soft",
}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mini")
    build_mini_tokenizer(made)
    return made


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> GemmaTokenizer:
    return GemmaTokenizer.from_folder(folder)


def edited(folder: Path, tmp_path: Path, edit) -> Path:
    """A copy of ``folder`` whose tokenizer.json went through ``edit``."""
    raw = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    edit(raw)
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw), "utf-8")
    return tmp_path


def without(*tokens: str):
    def edit(raw) -> None:
        raw["post_processor"] = None
        raw["added_tokens"] = [t for t in raw["added_tokens"] if t["content"] not in tokens]
        for token in tokens:
            raw["model"]["vocab"][f"gone{len(raw['model']['vocab'])}"] = raw["model"]["vocab"].pop(token)

    return edit


# The mini vocabulary


def test_building_twice_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    build_mini_tokenizer(tmp_path)
    names = sorted(p.name for p in folder.iterdir())
    assert names == [
        "chat_template.jinja",
        "preprocessor_config.json",
        "processor_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert all((folder / n).read_bytes() == (tmp_path / n).read_bytes() for n in names)


def test_sizes_are_written_where_the_processor_reads_them(tmp_path: Path) -> None:
    build_mini_tokenizer(tmp_path, image_size=448, image_seq_length=256)
    pixels = json.loads((tmp_path / "preprocessor_config.json").read_text("utf-8"))
    processor = json.loads((tmp_path / "processor_config.json").read_text("utf-8"))
    assert pixels["size"] == {"height": 448, "width": 448}
    assert (pixels["image_seq_length"], processor["image_seq_length"]) == (256, 256)


def test_vocabulary_fills_the_embedding_without_gaps(folder: Path, tokenizer: GemmaTokenizer) -> None:
    vocab = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    assert tokenizer.vocab_size % MULTIPLE == 0
    assert sorted(vocab.values()) == list(range(tokenizer.vocab_size))
    assert tokenizer.special.image_soft is not None
    assert tokenizer.special.image_soft < tokenizer.vocab_size


def test_first_ids_are_gemmas(tokenizer: GemmaTokenizer) -> None:
    assert tokenizer.encode_with_special("<pad><eos><bos><unk><mask>") == [0, 1, 2, 3, 4]


def test_every_character_of_the_training_text_is_one_token(tokenizer: GemmaTokenizer) -> None:
    lengths = {char: len(tokenizer.encode_text(char)) for char in CHARSET}
    assert {char for char, length in lengths.items() if length != 1} == set()
    assert len({tokenizer.encode_text(char)[0] for char in CHARSET}) == len(CHARSET)


def test_words_are_read_character_by_character(tokenizer: GemmaTokenizer) -> None:
    assert tokenizer.encode_text("ab a") == [tokenizer.encode_text(c)[0] for c in "ab a"]


def test_newline_runs_are_single_tokens_up_to_four(tokenizer: GemmaTokenizer) -> None:
    one, two, three, four = (tokenizer.encode_text("\n" * n) for n in (1, 2, 3, 4))
    assert [len(run) for run in (one, two, three, four)] == [1, 1, 1, 1]
    assert len({*one, *two, *three, *four}) == 4
    assert tokenizer.encode_text("\n" * 6) == four + two
    assert tokenizer.encode_text("a\n\n\nb")[1:2] == three


def test_unlisted_characters_fall_back_to_bytes(tokenizer: GemmaTokenizer) -> None:
    ids = tokenizer.encode_text("你")
    assert [tokenizer.token_bytes(i) for i in ids] == [b"\xe4", b"\xbd", b"\xa0"]
    assert tokenizer.decode(ids) == "你"
    assert tokenizer.decode(ids[:2]) == "\ufffd"


# Round trips


@given(texts)
def test_decode_undoes_encode(tokenizer: GemmaTokenizer, text: str) -> None:
    ids = tokenizer.encode_text(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.token_bytes(i) for i in ids) == text.encode()


def test_lone_surrogates_become_replacement_characters(tokenizer: GemmaTokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode_text("a\udcffb")) == "a\ufffdb"


def test_token_bytes_of_each_kind(tokenizer: GemmaTokenizer) -> None:
    def only(text: str) -> int:
        (id,) = tokenizer.encode_text(text)
        return id

    assert tokenizer.token_bytes(only(" ")) == b" "
    assert tokenizer.token_bytes(only("é")) == b"\xc3\xa9"
    assert tokenizer.token_bytes(only("\x07")) == b"\x07"
    assert tokenizer.token_bytes(only("\n\n")) == b"\n\n"
    assert tokenizer.token_bytes(tokenizer.special.end_of_turn) == b""
    assert tokenizer.token_bytes(tokenizer.vocab_size + 3) == b""


def test_decode_drops_or_keeps_control_tokens(tokenizer: GemmaTokenizer) -> None:
    ids = tokenizer.encode_with_special("<bos>a<end_of_turn>")
    assert tokenizer.decode(ids) == "a"
    assert tokenizer.decode(ids, keep_special=True) == "<bos>a<end_of_turn>"


# Control tokens


@pytest.mark.parametrize("flagged", [True, False], ids=["marked special", "not marked special"])
@pytest.mark.parametrize("token", [*ROLES, "<unk>"])
def test_typed_control_tokens_stay_text(folder: Path, tmp_path: Path, token: str, flagged: bool) -> None:
    def edit(raw) -> None:
        for added in raw["added_tokens"]:
            added["special"] = added["special"] and flagged

    tokenizer = GemmaTokenizer.from_folder(edited(folder, tmp_path, edit))
    control = tokenizer.encode_with_special(token)
    assert len(control) == 1
    typed = tokenizer.encode_text(f"a {token}\n\n{token}")
    assert control[0] not in typed
    assert tokenizer.decode(typed) == f"a {token}\n\n{token}"
    assert tokenizer.decode(control) == ""
    assert len(typed) == len(f"a {token}{token}") + 1  # letter by letter, and the newlines in one


def test_special_ids_are_those_of_the_file(folder: Path, tokenizer: GemmaTokenizer) -> None:
    vocab = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    assert {t: getattr(tokenizer.special, role) for t, role in ROLES.items()} == {t: vocab[t] for t in ROLES}


def test_a_vocabulary_that_spells_control_tokens_is_refused(folder: Path, tmp_path: Path) -> None:
    def edit(raw) -> None:
        raw["model"]["vocab"] |= {"<e": 512, "<eo": 513, "<eos": 514}
        raw["model"]["merges"] = [["<", "e"], ["<e", "o"], ["<eo", "s"], ["<eos", ">"]]

    with pytest.raises(CheckpointError, match="typing <eos>"):
        GemmaTokenizer.from_folder(edited(folder, tmp_path, edit))


# Files that are not what they should be


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / "tokenizer.json"))):
        GemmaTokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b'{"version": "1.0"}'])
def test_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not readable as a tokenizer"):
        GemmaTokenizer.from_folder(tmp_path)


def test_missing_control_tokens_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="<pad>, <bos> missing"):
        GemmaTokenizer.from_folder(edited(folder, tmp_path, without("<pad>", "<bos>")))


def test_a_text_only_vocabulary_has_no_image_ids(folder: Path, tmp_path: Path) -> None:
    images = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
    special = GemmaTokenizer.from_folder(edited(folder, tmp_path, without(*images))).special
    assert (special.start_of_image, special.end_of_image, special.image_soft) == (None, None, None)


def test_a_vocabulary_without_turns_loads(folder: Path, tmp_path: Path) -> None:
    turns = ("<start_of_turn>", "<end_of_turn>")
    special = GemmaTokenizer.from_folder(edited(folder, tmp_path, without(*turns))).special
    assert (special.start_of_turn, special.end_of_turn) == (ABSENT, ABSENT)


# GGUF

NORMAL, CONTROL, WORD, BYTE = (
    gguf.TokenType.NORMAL,
    gguf.TokenType.CONTROL,
    gguf.TokenType.USER_DEFINED,
    gguf.TokenType.BYTE,
)
TOKENS = [
    ("<pad>", CONTROL),  # 0
    ("<eos>", CONTROL),
    ("<bos>", CONTROL),
    ("<unk>", CONTROL),
    ("<start_of_turn>", CONTROL),
    ("<end_of_turn>", CONTROL),  # 5
    ("\n", WORD),
    ("\n\n", WORD),
    ("  ", WORD),
    ("<b>", WORD),
    ("<start_of_image>", WORD),  # 10: marked a word, as in the real file
    ("ab", NORMAL),
    ("bc", NORMAL),
    ("abc", NORMAL),
    ("▁a", NORMAL),
    ("▁", NORMAL),  # 15
    ("a", NORMAL),
    ("b", NORMAL),
    ("c", NORMAL),
    ("<", NORMAL),
    (">", NORMAL),  # 20
    *((f"<0x{value:02X}>", BYTE) for value in range(256)),
]
FIRST_BYTE = 21


def write_gguf(path: Path, tokens=TOKENS, model: str = "llama", lists: bool = True) -> Path:
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_context_length(512)
    writer.add_rope_dimension_sections([1, 2, 3])  # a list of numbers to be skipped
    writer.add_tokenizer_model(model)
    if lists:
        writer.add_token_list([token for token, _ in tokens])
        writer.add_token_scores([-1000.0] * len(tokens))
        writer.add_token_types([kind for _, kind in tokens])
    writer.add_bos_token_id(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("ab", [11]),
        ("abc", [13]),  # ab first: it stands before bc
        ("bc", [12]),
        (" a", [14]),
        ("   a", [8, 14]),
        ("\n\n\n", [7, 6]),
        ("<b>", [9]),
        ("é", [FIRST_BYTE + 0xC3, FIRST_BYTE + 0xA9]),
        ("<bos>", [19, 17, FIRST_BYTE + ord("o"), FIRST_BYTE + ord("s"), 20]),
    ],
)
def test_gguf_token_list_becomes_a_tokenizer(tmp_path: Path, text: str, ids: list[int]) -> None:
    tokenizer = GemmaTokenizer.from_gguf(write_gguf(tmp_path / "m.gguf"))
    assert tokenizer.encode_text(text) == ids
    assert tokenizer.decode(ids) == text


def test_gguf_runs_of_spaces_are_respelled(tmp_path: Path) -> None:
    tokenizer = GemmaTokenizer.from_gguf(write_gguf(tmp_path / "m.gguf"))
    assert tokenizer.encode_text("▁▁") == [8]  # listed as two real spaces
    assert tokenizer.token_bytes(8) == b"  "


def test_gguf_image_tokens_marked_as_words_stay_text(tmp_path: Path) -> None:
    tokenizer = GemmaTokenizer.from_gguf(write_gguf(tmp_path / "m.gguf"))
    assert tokenizer.special.start_of_image == 10
    assert 10 not in tokenizer.encode_text("<start_of_image>")
    assert tokenizer.encode_with_special("a<start_of_image>") == [16, 10]


def test_gguf_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in (0, 3, 20, 60, len(whole) // 2, len(whole) - 900):
        cut.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut\.gguf"):
            GemmaTokenizer.from_gguf(cut)


@pytest.mark.parametrize("key", [b"tokenizer.ggml.tokens", b"tokenizer.ggml.scores"])
def test_gguf_with_a_false_count_is_refused(tmp_path: Path, key: bytes) -> None:
    data = bytearray(write_gguf(tmp_path / "m.gguf").read_bytes())
    count = data.index(key) + len(key) + 8
    data[count : count + 8] = (2**60).to_bytes(8, "little")
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(CheckpointError, match="are left"):
        GemmaTokenizer.from_gguf(tmp_path / "m.gguf")


def test_other_files_are_refused_as_gguf(tmp_path: Path) -> None:
    text = tmp_path / "notes.gguf"
    text.write_text("not weights, but long enough to hold a header", "utf-8")
    with pytest.raises(CheckpointError, match="not a usable GGUF file"):
        GemmaTokenizer.from_gguf(text)
    with pytest.raises(CheckpointError, match="can't be read"):
        GemmaTokenizer.from_gguf(tmp_path / "nowhere.gguf")
    with pytest.raises(CheckpointError, match="tokenizer 'gpt2'"):
        GemmaTokenizer.from_gguf(write_gguf(tmp_path / "a.gguf", model="gpt2"))
    with pytest.raises(CheckpointError, match=r"no tokenizer\.ggml\.tokens"):
        GemmaTokenizer.from_gguf(write_gguf(tmp_path / "b.gguf", lists=False))
    with pytest.raises(CheckpointError, match="duplicates"):
        GemmaTokenizer.from_gguf(write_gguf(tmp_path / "c.gguf", tokens=[*TOKENS, ("ab", NORMAL)]))
