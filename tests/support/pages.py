"""What a browser makes of a page."""

from __future__ import annotations

from html.parser import HTMLParser

# what a label may be: an end of a script, a tag, quotes, what a template would fill in
HOSTILE = "</script></style><script>alert(1)</script> \"'&<b> {{ 7 * 7 }}{% if %}{# #} url(#x) #ffffff"


class Page(HTMLParser):
    """What a browser would load, and the text by element; elements must close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.seen, self.texts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))
