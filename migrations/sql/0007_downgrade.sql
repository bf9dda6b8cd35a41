-- Takes back 0007. The files stay where they are: an older registry does not find those of
-- archived versions until they are moved back from the cold tier by hand.
DROP TABLE registry.stored_checks;
