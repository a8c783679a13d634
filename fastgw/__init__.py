"""fastgw: Istio's gateway API on a bare Linux box."""

__version__ = "0.1.0"
