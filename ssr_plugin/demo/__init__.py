"""A page in the browser to try a model on: ``ssr demo`` (extra ``[demo]``).

:mod:`~ssr_plugin.demo.page` builds it, of what :mod:`~ssr_plugin.demo.hearing` hears
and asks, and :mod:`~ssr_plugin.demo.drawing` draws. :mod:`~ssr_plugin.demo.guard`
stands before it and lets nothing but uploads be read. Only ``page`` needs Gradio.
"""
