"""Methods that live elsewhere: in another language, another environment, behind any command."""
