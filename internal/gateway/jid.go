package gateway

import "strings"

// Servers of a JID, the part behind the @.
const (
	ServerUser  = "s.whatsapp.net" // a phone number
	ServerLID   = "lid"            // a LID, WhatsApp's number-free identity
	ServerGroup = "g.us"           // a group
)

// IsGroupJID reports whether to names a group.
func IsGroupJID(to string) bool { return strings.HasSuffix(to, "@"+ServerGroup) }

// IsJID reports whether to is a JID rather than a number.
func IsJID(to string) bool { return strings.Contains(to, "@") }

// UserJID is the JID of a phone number given as E.164 digits.
func UserJID(digits string) string { return digits + "@" + ServerUser }

// BareJID strips a device ("123:4@lid" and "123.0:4@lid" become "123@lid").
func BareJID(jid string) string {
	user, server, ok := strings.Cut(jid, "@")
	if !ok {
		return jid
	}
	user, _, _ = strings.Cut(user, ":")
	user, _, _ = strings.Cut(user, ".")
	return user + "@" + server
}
