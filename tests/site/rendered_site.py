"""A whole site as bytes, and its pages as trees of elements."""

from html.parser import HTMLParser

from page_reader import VOID

from keyturn.site.files import files, known_places
from keyturn.site.views.notes import places_of


def rendered(source, out):
    """Path -> bytes of a whole site."""
    return dict(files(source, places_of(source, known_places(out))))


class Element:
    """A tag with its attributes, its parent and the text inside it."""

    def __init__(self, tag, attrs, parent):
        self.tag, self.attrs, self.parent, self.text = tag, attrs, parent, ""

    def within(self, test):
        at = self
        while at is not None:
            if test(at):
                return True
            at = at.parent
        return False


class Tree(HTMLParser):
    """A page as a flat list of elements that know their parents."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        found = Element(tag, {k: v or "" for k, v in attrs}, self.open[-1] if self.open else None)
        self.elements.append(found)
        if tag not in VOID:
            self.open.append(found)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(Element(tag, {k: v or "" for k, v in attrs}, self.open[-1] if self.open else None))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        for one in self.open:
            one.text += data
        self.texts.append((self.open[-1] if self.open else None, data))

    def having(self, name):
        return [one for one in self.elements if name in one.attrs]
