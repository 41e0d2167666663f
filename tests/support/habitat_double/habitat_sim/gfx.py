"""habitat_sim.gfx: keys of lights."""

DEFAULT_LIGHTING_KEY = ""
NO_LIGHT_KEY = "no_lights"
