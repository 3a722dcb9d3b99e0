//! STUN (RFC 8489): see the module.
