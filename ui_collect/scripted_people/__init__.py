"""Scripted people: clients that speak the page's protocol and play, so that loops, load tests and demos need nobody.

``page_socket`` is the connection, ``page`` what a browser page would know from what came over it, ``floor_plan`` the
ways through the home, ``errands`` what the page's list of missing things asks for, ``choices`` what to do next,
``walking`` the keys that lead there, ``person`` one person from the invitation to the thanks, ``crowd`` many of them,
and ``audit`` what of all they were promised lies on disk.
"""
