import pytest

from classifier.labels import display_name, verdict, with_article

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("border_collie", "Border Collie"),
        ("shih-tzu", "Shih-Tzu"),
        ("black-and-tan_coonhound", "Black-and-Tan Coonhound"),
        ("bouvier_des_flandres", "Bouvier des Flandres"),
        ("wire-haired_fox_terrier", "Wire-Haired Fox Terrier"),
        ("the_dog", "The Dog"),
        ("Golden Retriever", "Golden Retriever"),
        ("iPhone_case", "iPhone case"),
        ("  two__gaps ", "Two Gaps"),
        ("écureuil", "Écureuil"),
        ("<img onerror=x>", "<img Onerror=x>"),
    ],
)
def test_it_writes_a_label_as_people_do(label, shown):
    assert display_name(label) == shown


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("border_collie", "a Border Collie"),
        ("affenpinscher", "an Affenpinscher"),
        ("irish_setter", "an Irish Setter"),
        ("old_english_sheepdog", "an Old English Sheepdog"),
        ("eurasier", "a Eurasier"),
        ("unicorn", "a Unicorn"),
    ],
)
def test_it_takes_the_article_by_sound(label, shown):
    assert with_article(label) == shown


def test_it_says_plainly_when_it_is_unsure():
    assert verdict("beagle", sure=True) == "This looks like a Beagle."
    assert verdict("beagle", sure=False) == "I am not sure. It may be a Beagle."
