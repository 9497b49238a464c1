"""The Gradio page: what the engine says, shown; what the user types, handed on.

view.py      events of a conversation -> what the page must show (pure)
render.py    what must be shown -> HTML (pure)
tabs.py      one conversation per browser tab, and its stream of patches
guard.py     which addresses may use the page
app.py       the Gradio page, from page.html, page.css, box.js and page.js
__main__.py  python -m ui
"""
