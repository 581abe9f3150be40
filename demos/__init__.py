"""What to show people: a page in the browser, a script, and the images both use.

Installed, this folder is ``vlm._demos``, so that no top-level ``demos`` lands beside other people's
packages. Imports inside are therefore relative.
"""
