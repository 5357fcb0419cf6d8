// Package convert turns the domain's terms into WhatsApp's and back: messages into protobufs, receipts and JIDs into
// gateway's. Everything here is pure: no network, no store, no clock.
package convert
