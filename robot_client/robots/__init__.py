"""The robots a station can drive, one adapter a file; :mod:`robot_client.robots.robot` says what an adapter does."""
