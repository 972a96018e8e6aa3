"""The browser demo: five tabs over the public API.

`limits` checks what comes from a browser, `desk` gives everybody one job at a time, `jobs` and
`swaps` turn checked inputs into results, `plots` draws them, the `page` modules lay them out, and
`serve` runs the whole. `ids` lists the ids of all components and the names of all calls.
Only `page` modules and `serve` import Gradio, and only when they run.
"""
