-- Give a reservation back whose request has ended without a slot, as if the request had never been there.
-- KEYS: reservations of its gateway
-- ARGV: request id
end_reservation(KEYS[1], ARGV[1], 0, true)
