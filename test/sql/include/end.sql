-- Included by every test: the next one installs anew.
SET client_min_messages = warning;
DISCARD TEMP;
DROP EXTENSION stripe_sync;
