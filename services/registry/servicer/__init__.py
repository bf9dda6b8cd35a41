"""The registry's services on the wire, one for each noun: unpack, call, pack."""
