"""Where robots act: the client at a station, light enough for a laptop beside the robot.

NumPy, h5py, msgpack and websockets only; never torch, never dagster.
"""
