"""Expected signers: exact means exact, a pattern matches the whole name in bounded time, and nothing empty matches."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError, VerificationFailed
from weighbridge.trust.expect import AllOf, AnyOf, BuiltBy, ExpectedIdentity, ExpectedKey, check_expected
from weighbridge.trust.pattern import Pattern
from weighbridge.trust.proof import Signer

SUBJECT = "https://ci.test/models/.build/train.yml@refs/heads/main"
ISSUER = "https://token.ci.test"
SOURCE = "https://ci.test/models"
BUILDER = "https://ci.test/builders/train.yml@v1"
SIGNER = Signer(
    Digest.of(b"key"),
    "",
    ISSUER,
    SUBJECT,
    "uri",
    {"8": ISSUER, "9": BUILDER, "12": SOURCE},
    b"certificate",
)
KEY = Signer(Digest.of(b"key"), "pem")


def test_the_expected_signer_is_taken():
    for expected in [
        ExpectedIdentity(SUBJECT, ISSUER),
        ExpectedIdentity(SUBJECT),
        ExpectedIdentity(issuer=ISSUER),
        ExpectedIdentity(SUBJECT, ISSUER, {"source-repository-uri": SOURCE, "9": BUILDER}),
        ExpectedIdentity(Pattern(r"https://ci\.test/models/.*"), ISSUER),
        AllOf((ExpectedIdentity(SUBJECT), ExpectedIdentity(issuer=ISSUER))),
        AnyOf((ExpectedIdentity("somebody@ci.test"), ExpectedIdentity(SUBJECT))),
        BuiltBy(((SOURCE, "other"), (SOURCE, BUILDER))),
    ]:
        assert expected.refusal(SIGNER) is None
        check_expected(expected, SIGNER)
    assert ExpectedKey(Digest.of(b"key")).refusal(KEY) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        SUBJECT[:-1],
        SUBJECT + "x",
        "x" + SUBJECT,
        SUBJECT.upper(),
        SUBJECT + "\n",
        SUBJECT + "\x00.attacker.test",
        SUBJECT.replace("ci.test", "ci-test"),
        SUBJECT.replace("main", "m\u0430in"),
        SUBJECT.replace("main", "mai\u0301n"),
        ".*",
        "https://ci.test/models/.*",
        SUBJECT.replace("/", "\\/"),
    ],
)
def test_no_other_name_is_taken_for_it(name):
    other = replace(SIGNER, subject=name)
    for expected in [
        ExpectedIdentity(SUBJECT, ISSUER),
        ExpectedIdentity(Pattern(re.escape(SUBJECT)), ISSUER),
        AllOf((ExpectedIdentity(SUBJECT), ExpectedIdentity(issuer=ISSUER))),
        AnyOf((ExpectedIdentity(SUBJECT), ExpectedIdentity(SUBJECT + "/"))),
    ]:
        assert expected.refusal(other)
        with pytest.raises(VerificationFailed) as caught:
            check_expected(expected, other)
        assert caught.value.check == "identity.expected"


def test_names_that_are_patterns_are_only_names():
    assert ExpectedIdentity(".*").refusal(SIGNER)
    assert ExpectedIdentity(".*").refusal(replace(SIGNER, subject=".*")) is None


def test_the_issuer_is_part_of_the_name():
    expected = ExpectedIdentity(SUBJECT, ISSUER)
    for issuer in ("", ISSUER + "/", "https://token.other.test", ISSUER.replace("token", "t0ken")):
        assert "issuer" in expected.refusal(replace(SIGNER, issuer=issuer))


def test_a_claim_that_is_absent_is_no_match_of_anything():
    for words in ("", Pattern(".*"), Pattern("")):
        try:
            expected = ExpectedIdentity(SUBJECT, claims={"14": words})
        except UsageError:
            assert words == ""
            continue
        assert "claim 14" in expected.refusal(SIGNER)
    assert ExpectedIdentity(Pattern(".*")).refusal(replace(SIGNER, subject=""))


def test_keys_and_certificates_are_not_taken_for_each_other():
    assert ExpectedKey(SIGNER.key).refusal(SIGNER)
    assert ExpectedKey(Digest.of(b"other")).refusal(KEY)
    assert ExpectedIdentity(SUBJECT).refusal(replace(KEY, subject=SUBJECT))


def test_source_and_builder_are_a_pair():
    pairs = BuiltBy(((SOURCE, BUILDER), ("https://ci.test/other", "https://ci.test/builders/other.yml")))
    assert pairs.refusal(SIGNER) is None
    crossed = replace(SIGNER, claims={**SIGNER.claims, "12": "https://ci.test/other"})
    assert pairs.refusal(crossed)
    assert pairs.refusal(replace(SIGNER, claims={"9": BUILDER}))
    by_subject = replace(SIGNER, subject=BUILDER, claims={"12": SOURCE})
    assert pairs.refusal(by_subject) is None
    assert pairs.refusal(replace(by_subject, subject=SUBJECT))


def test_all_names_the_first_refusal_and_any_names_every_one():
    no, other = ExpectedIdentity("a"), ExpectedIdentity(issuer="b")
    assert "subject" in AllOf((ExpectedIdentity(SUBJECT), no)).refusal(SIGNER)
    both = AnyOf((no, other)).refusal(SIGNER)
    assert "subject" in both
    assert "issuer" in both


def test_refusals_say_what_was_expected_and_what_was_found():
    assert ExpectedIdentity(claims={"12": SOURCE}).refusal(SIGNER) is None
    assert "a match of 'a.*'" in ExpectedIdentity(Pattern("a.*")).refusal(SIGNER)
    assert repr(SUBJECT) in ExpectedIdentity("a").refusal(SIGNER)
    assert repr(SOURCE) in BuiltBy((("a", "b"),)).refusal(SIGNER)
    assert "no source repository" in BuiltBy((("a", "b"),)).refusal(replace(SIGNER, claims={}))


@pytest.mark.parametrize(
    "make",
    [
        ExpectedIdentity,
        lambda: ExpectedIdentity(""),
        lambda: ExpectedIdentity(SUBJECT, ""),
        lambda: ExpectedIdentity(claims={"repository": "x"}),
        lambda: ExpectedIdentity(claims={"\u00b2": "x"}),
        lambda: AllOf(()),
        lambda: AnyOf(()),
        lambda: BuiltBy(()),
    ],
)
def test_an_expectation_that_says_nothing_is_a_mistake(make):
    with pytest.raises(UsageError) as caught:
        make()
    assert caught.value.check == "expect.identity"


@pytest.mark.parametrize(
    ("source", "takes", "refuses"),
    [
        ("abc", ["abc"], ["", "ab", "abcd", "xabc", "abc\n"]),
        ("^abc$", ["abc"], ["^abc$", "abcd"]),
        (r"a\$", ["a$"], ["a"]),
        (r"a\\$", ["a\\"], ["a"]),
        ("a|bc", ["a", "bc"], ["ac", "abc", ""]),
        ("^a|bc$", ["a", "bc"], ["ax", "xbc"]),
        ("(a|b)*c", ["c", "abac"], ["abab", "abd"]),
        ("(a*)*b", ["b", "aaab"], ["a" * 30]),
        ("a{2,3}", ["aa", "aaa"], ["a", "aaaa"]),
        ("a{2}", ["aa"], ["a", "aaa"]),
        ("a{2,}", ["aa", "a" * 9], ["a"]),
        ("a{0}b", ["b"], ["ab"]),
        ("a+?b*?", ["a", "aab"], ["b", ""]),
        ("[a-c]+[^/]", ["abx"], ["ab/", "dx"]),
        (r"[\]\-\d]+", ["]-9"], ["a"]),
        ("[]a]+", ["]a"], ["b"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[^]]", ["a"], ["]"]),
        (r"\d\w\s\D\W\S", ["1_ x-y"], ["x_ x-y", "1_ 1-y"]),
        ("(?:ab)?c", ["c", "abc"], ["bc"]),
        (".", ["a", "\u20ac"], ["", "\n", "ab"]),
        ("", [""], ["a"]),
        ("()", [""], ["a"]),
        ("a||b", ["a", "", "b"], ["ab"]),
    ],
)
def test_patterns_match_whole_texts(source, takes, refuses):
    pattern = Pattern(source)
    assert [text for text in takes if not pattern.matches(text)] == []
    assert [text for text in refuses if pattern.matches(text)] == []


@pytest.mark.parametrize(
    "source",
    [
        "a**", "a+*", "a{2}{3}", "*a", "a(", "a)", "[a", "[", "(?i)a", "(?=a)", "(?P<n>a)", r"\1", r"\b", r"\pL",
        "a{", "a{,3}", "a{3,2}", "a{x}", "a^b", "a$b", "[z-a]", r"[\d-z]", "a\\", "(a", "a" * 513, "(" * 40 + ")" * 40,
        "a{1001}", "(a{500}){500}", "((((){1000}){1000}){1000}){1000}", r"\é", "[a-\\d]", "{3}",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(source):
    with pytest.raises(UsageError) as caught:
        Pattern(source)
    assert caught.value.check == "expect.pattern"
    assert caught.value.cause


def test_no_text_takes_long():
    # What backtracks would not end while the tests may run.
    for source in ("(a*)*(a*)*b", "(a|a)*(a|aa)*b", "(.*)(.*)(.*)(.*)x", ".*.*.*.*.*.*x"):
        assert not Pattern(source).matches("a" * 2048)
    assert not Pattern("a*").matches("a" * 2049)


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", "c"])
SOURCES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda both: f"({both[0]}|{both[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}"])).map(
            lambda both: f"({both[0]}){both[1]}"
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(SOURCES, st.text("abc1\n", max_size=8))
def test_patterns_mean_what_regular_expressions_mean(source, text):
    assert Pattern(source).matches(text) == (re.fullmatch(source, text) is not None)
