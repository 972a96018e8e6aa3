"""The browser demo: five tabs over the public API.

`limits` checks what comes from a browser, `jobs` turns checked inputs into results, `state` runs
them one at a time, `plots` draws them, the `page` modules lay them out, and `serve` runs the whole.
`ids` lists the ids of all components and the names of all calls. Only `page` modules, `widgets` and
`serve` import Gradio, and only when they run.
"""
