// Package wasim is a WhatsApp server in one process: the Noise transport, pairing, prekeys, device lists, message
// routing, receipts, groups and media of the multi-device protocol, together with phones that hold real Signal keys and
// really decrypt what is sent to them. An unmodified client connects to it over TLS; what a simulated phone shows is what
// a person would read. Test numbers and scripted faults make it misbehave on purpose.
//
// The room imports whatsmeow only for what both ends of the wire share: the binary XML codec, the protobuf types and the
// Signal store interfaces. It never sets whatsmeow.WACertPubKey; the caller does, with RootKey.
//
// Promises: the effects of a stanza (inbox, Signal state, queues) are committed in one transaction before the stanza is
// acknowledged, so killing the process loses nothing that was acknowledged; a stanza queued for a device stays queued until
// that device confirms it; numbers do not wait for one another.
package wasim
