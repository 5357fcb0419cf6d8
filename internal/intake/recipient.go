package intake

import (
	"errors"
	"strings"

	"github.com/nyaruka/phonenumbers"

	"github.com/wapro/hub/internal/gateway"
)

// Bounds of the number in a JID. WhatsApp's own ids are no phone numbers and are not checked as such.
const (
	minJIDDigits = 5
	maxJIDDigits = 20
	maxRecipient = 64 // bytes of what is parsed at all
)

// ParseRecipient normalises a recipient: a phone number with its country code becomes E.164 digits, a JID of a person, a
// LID or a group stays as it is. Its errors may be shown to the sender.
func ParseRecipient(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return "", errors.New("a recipient is required")
	case len(s) > maxRecipient:
		return "", errors.New("the recipient is too long")
	case strings.Contains(s, "@"):
		return parseJID(s)
	}
	return parseNumber(s)
}

// Recipient is ParseRecipient, for those who are given an Intake.
func (in *Intake) Recipient(given string) (string, error) { return ParseRecipient(given) }

func parseJID(s string) (string, error) {
	user, server, _ := strings.Cut(s, "@")
	switch server {
	case gateway.ServerUser, gateway.ServerLID:
		if !jidDigits(user) {
			return "", errors.New("a JID of a person is its number and the server, without a device")
		}
	case gateway.ServerGroup:
		// Old groups are named by their creator and the time: 4915112345678-1612345678.
		creator, created, old := strings.Cut(user, "-")
		if !jidDigits(creator) || old && !jidDigits(created) {
			return "", errors.New("a group's JID is a number, @ and g.us")
		}
	default:
		return "", errors.New("a JID ends in @" + gateway.ServerUser + ", @" + gateway.ServerLID + " or @" + gateway.ServerGroup)
	}
	return s, nil
}

func jidDigits(s string) bool {
	return len(s) >= minJIDDigits && len(s) <= maxJIDDigits && onlyDigits(s) && s[0] != '0'
}

func parseNumber(s string) (string, error) {
	const advice = "a phone number is written with its country code, like +49 151 12345678"
	// Nothing but digits and what people put between them: the library would also take letters and extensions.
	rest := strings.TrimPrefix(s, "+")
	digits := strings.Map(func(r rune) rune {
		switch r {
		case ' ', '-', '(', ')', '.', '\u00a0', '\u2009', '\u202f':
			return -1
		}
		return r
	}, rest)
	if !onlyDigits(digits) {
		return "", errors.New(advice)
	}
	if len(rest) == len(s) {
		digits = strings.TrimPrefix(digits, "00") // the international prefix of most countries
	}
	if plain(digits) {
		return digits, nil
	}
	to, ok := e164(digits)
	if !ok {
		return "", errors.New(advice)
	}
	// The library drops one zero that is dialled inside the country; where more follow it is anybody's guess what is meant.
	if to != digits {
		if again, ok := e164(to); !ok || again != to {
			return "", errors.New(advice)
		}
	}
	return to, nil
}

func e164(digits string) (string, bool) {
	number, err := phonenumbers.Parse("+"+digits, "")
	if err != nil || !phonenumbers.IsPossibleNumber(number) {
		return "", false
	}
	return strings.TrimPrefix(phonenumbers.Format(number, phonenumbers.E164), "+"), true
}

func onlyDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
