"""A package by name, because a library we install (draccus) brings one of the same name, which would hide this one."""
