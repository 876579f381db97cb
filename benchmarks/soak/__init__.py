"""Videos that come and go for hours while servers, gateway and clients are killed, stopped, drained and attacked."""
