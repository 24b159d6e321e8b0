"""Names granted by hand outside of any rule: they pass as their library writes them, and in no other way."""

import pickle
import re

import pytest
from test_scanner_profiles import named, scan, stream, text

from weighbridge.core.finding import Verdict
from weighbridge.scanner.names import parse_shape

DILL_TYPE = named("dill._dill._load_type")
DILL_ARRAY = named("dill._dill._create_array")
REBUILT = named("numpy._core.multiarray._reconstruct")
ARGS = named("numpy.ndarray") + b"K\x00\x85C\x01b\x87"
DTYPE = (
    named("numpy.dtype") + text("f8") + b"\x89\x88\x87R(K\x03" + text("<") + b"NNN"
    + b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)  # fmt: skip
NUMBERS = b"(K\x01K\x01\x85" + DTYPE + b"\x89C\x08" + bytes(8) + b"t"
OUTPUT = named("transformers.modeling_outputs.BaseModelOutputWithPooling")
PATTERN = named("re._compile")
NAMED_TUPLE = named("torch.return_types.max")

LOSS = "sklearn._loss._loss."
UNPICKLED = named(f"{LOSS}__pyx_unpickle_CyHalfBinomialLoss")
PERIOD = named("pandas.core.dtypes.dtypes.PeriodDtype")

DOK = named("scipy.sparse._dok.dok_matrix")
MADE = named("copyreg._reconstructor")
CELL = b"}K\x01K\x01\x86K\x05s"

HONEST = {
    "a sparse matrix that is a dict": (MADE, DOK, named("builtins.dict"), CELL, b"\x87R}", text("_shape"), b"K\x02K\x02\x86sb"),
    "UTC of pytz": (named("pytz._UTC"), b")R"),
    "a zone of pytz": (named("pytz._p"), b"(", text("Europe/Berlin"), b"K\x01K\x00", text("LMT"), b"tR"),
    "a loss of scikit-learn 1.2": (UNPICKLED, named(f"{LOSS}CyHalfBinomialLoss"), b"K\x01)\x87R"),
    "the scorer that scikit-learn 1.2 keeps": (named("sklearn.metrics._scorer._passthrough_scorer"),),
    "a period of pandas 1": (
        PERIOD, named("pandas._libs.tslibs.offsets.Day"), b"K\x01\x89\x86R", b"\x85R",
    ),
    "no time in pandas 1": (named("pandas._libs.tslibs.nattype.__nat_unpickle"), b"N\x85R"),
    "a type of dill": (DILL_TYPE, text("NoneType"), b"\x85R"),
    "a type of dill as a key": (b"}", DILL_TYPE, text("int"), b"\x85RK\x01s"),
    "an array of dill": (DILL_ARRAY, b"(", REBUILT, ARGS, NUMBERS, b"NtR"),
    "an array of dill, without attributes": (DILL_ARRAY, b"(", REBUILT, ARGS, NUMBERS, b"tR"),
    "what torch.max returns": (NAMED_TUPLE, b"N", b"N\x86", b"}\x86R"),
}  # fmt: skip
MISUSED = {
    "such a matrix out of an object's state": (MADE, DOK, named("builtins.object"), b"N\x87R"),
    "such a matrix out of another dict": (MADE, DOK, named("collections.OrderedDict"), CELL, b"\x87R"),
    "such a matrix that is called": (DOK, CELL, b"\x85R"),
    "such a matrix and items": (MADE, DOK, named("builtins.dict"), b"}\x87RK\x01K\x02s"),
    "a zone without a name": (named("pytz._p"), named("collections.OrderedDict"), b")R\x85R"),
    "a zone by another function": (named("pytz.timezone"), text("UTC"), b"\x85R"),
    "pytz opens a file": (named("pytz.open_resource"), text("UTC"), b"\x85R"),
    "a loss of another class": (UNPICKLED, named("sklearn.linear_model._base.LinearRegression"), b"K\x01)\x87R"),
    "a loss with attributes": (UNPICKLED, named(f"{LOSS}CyHalfBinomialLoss"), b"K\x01}\x85\x87R"),
    "the scorer is called": (named("sklearn.metrics._scorer._passthrough_scorer"), b"N\x85R"),
    "a period of an object with methods": (PERIOD, named("types.SimpleNamespace"), b")R\x85R"),
    "dill's type of code": (DILL_TYPE, text("CodeType"), b"\x85R"),
    "dill's type of functions": (DILL_TYPE, text("FunctionType"), b"\x85R"),
    "super": (DILL_TYPE, text("SuperType"), b"\x85R"),
    "a type of dill, called": (DILL_TYPE, text("int"), b"\x85R", b")R"),
    "a type by a computed name": (DILL_TYPE, named("collections.OrderedDict"), b")R", b"\x85R"),
    "an array of objects": (DILL_ARRAY, b"(", REBUILT, ARGS, NUMBERS[:-11], b"]t", b"NtR"),
    "bytes from a call": (DILL_ARRAY, b"(", REBUILT, ARGS, NUMBERS[:-11], named("builtins.list"), b")Rt", b"NtR"),
    "attributes beside an array": (DILL_ARRAY, b"(", REBUILT, ARGS, NUMBERS, b"}tR"),
    "another maker in its place": (DILL_ARRAY, b"(", named("functools.partial"), ARGS, NUMBERS, b"NtR"),
    "state for an array of dill": (DILL_ARRAY, b"(", REBUILT, ARGS, NUMBERS, b"NtR", NUMBERS, b"b"),
    "an output whose items are attributes": (
        OUTPUT, b")\x81", text("__setstate__"), named("collections.OrderedDict"), b"s}b",
    ),
    "a pattern of bytes": (PATTERN, b"C\x01aK\x00\x86R"),
    "a pattern without end": (PATTERN, b"X\xe8\x03\x00\x00" + b"a" * 1000, b"K\x00\x86R"),
    "an empty pattern": (PATTERN, text(""), b"K\x00\x86R"),
    "a pattern with three arguments": (PATTERN, text("a"), b"K\x00K\x00\x87R"),
    "one argument for a named tuple": (NAMED_TUPLE, b"N", b"N\x86", b"\x85R"),
    "state of a named tuple": (NAMED_TUPLE, b"N", b"N\x86", b"}\x86R}b"),
    "another name beside the named tuples": (named("torch.return_types.pytree_register_structseq"), b"N\x85R"),
    "a packed sequence of anything": (named("torch.nn.utils.rnn.PackedSequence"), b"(]]NNt\x81"),
    "a packed sequence that is called": (named("torch.nn.utils.rnn.PackedSequence"), b"]]\x86R"),
}  # fmt: skip


@pytest.mark.parametrize("case", HONEST)
def test_it_passes_as_its_library_writes_it(case):
    report = scan(stream(*HONEST[case]))
    assert report.verdict is Verdict.NOTES, [finding.message for finding in report.findings]


@pytest.mark.parametrize("case", MISUSED)
def test_it_passes_in_no_other_way(case):
    assert not scan(stream(*MISUSED[case])).verdict.passes


@pytest.mark.parametrize("protocol", range(6))
def test_a_regular_expression_passes(protocol):
    assert scan(pickle.dumps(re.compile(r"\w+", re.IGNORECASE), protocol)).verdict is Verdict.NOTES


def test_shapes_with_bounds_and_with_kinds_of_a_tuple():
    from weighbridge.formats.pickle_events import Arg

    short = parse_shape("str<4")
    assert [short.fits((Arg("str", word),)) for word in ("", "abc", "abcd")] == [False, True, False]
    assert not short.fits((Arg("int", "1"),))
    pair = parse_shape("tuple=int+bytes|tuple=int")
    assert pair.fits((Arg("tuple", "int bytes"),))
    assert pair.fits((Arg("tuple", "int"),))
    assert not pair.fits((Arg("tuple", "bytes int"),))
    assert not pair.fits((Arg("tuple", "…"),))
    assert parse_shape("tuple").fits((Arg("tuple", "bytes int"),))
