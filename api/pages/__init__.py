"""Pages for people, at `/ui`: what the API does, drawn on the server.

A page is one module of this package and one template. The module has a router whose routes are
`PageRoute`s (`visits`), so none of them forgets the session, the form's token, or that a session
only reads. It asks use cases of `tasks/`, as the API's routes do, and answers with `page()` of
`rendering`. One line in `registry` adds it, and its entry puts it into the navigation.

- Lists take filters from the query string by `read_listing` of `listing`.
- A template extends `layout.html` and uses the macros of `parts.html`; it has no inline style and
  no inline script, which the Content-Security-Policy would refuse.
- What changes while it is looked at is drawn with `live=await watched(request)` of `live`: the
  tab's one stream says only that something changed; the browser then asks for the page again and
  morphs its `main` into it, so that focus, open panels and playing videos stay.
- What changes something is a form: POST, answered by a redirect; nothing needs JavaScript.
"""
