package convert

import (
	"strings"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"google.golang.org/protobuf/proto"

	"github.com/wapro/hub/internal/gateway"
)

// contacts is a message with one card or several.
func contacts(list []gateway.Contact, context *waE2E.ContextInfo) *waE2E.Message {
	cards := make([]*waE2E.ContactMessage, len(list))
	for i, c := range list {
		cards[i] = &waE2E.ContactMessage{DisplayName: proto.String(c.Name), Vcard: proto.String(VCard(c))}
	}
	if len(cards) == 1 {
		cards[0].ContextInfo = context
		return &waE2E.Message{ContactMessage: cards[0]}
	}
	return &waE2E.Message{ContactsArrayMessage: &waE2E.ContactsArrayMessage{
		DisplayName: proto.String(list[0].Name), Contacts: cards, ContextInfo: context,
	}}
}

// VCard writes c as phones exchange cards: version 3.0 (RFC 2426), each number with the WhatsApp account that it may have (waid).
func VCard(c gateway.Contact) string {
	var b strings.Builder
	line := func(parts ...string) {
		for _, part := range parts {
			b.WriteString(part)
		}
		b.WriteString("\r\n")
	}
	line("BEGIN:VCARD")
	line("VERSION:3.0")
	name := vcardEscaper().Replace(c.Name)
	line("N:;", name, ";;;")
	line("FN:", name)
	if c.Organization != "" {
		line("ORG:", vcardEscaper().Replace(c.Organization), ";")
	}
	for _, number := range c.Phones {
		line("TEL;type=CELL;type=VOICE;waid=", number, ":+", number)
	}
	if c.Email != "" {
		line("EMAIL;type=INTERNET:", vcardEscaper().Replace(c.Email))
	}
	b.WriteString("END:VCARD")
	return b.String()
}

// vcardEscaper makes text what no reader takes for the next line or field.
func vcardEscaper() *strings.Replacer {
	return strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\r\n", `\n`, "\n", `\n`, "\r", `\n`)
}
