package intake

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wapro/hub/internal/gateway"
)

// fill gives m what r asks for: a text, or the one thing in its stead.
func (in *Intake) fill(ctx context.Context, c *checks, m *gateway.Message, r *gateway.TextRequest) error {
	content := gateway.Content{}
	kinds := 0
	if r.Text != "" {
		kinds++
	}
	m.Type, m.Text = gateway.TypeText, r.Text
	if r.Location != nil {
		kinds++
		m.Type, content.Location = gateway.TypeLocation, c.location(*r.Location)
	}
	if r.Contacts != nil {
		kinds++
		m.Type, content.Contacts = gateway.TypeContacts, c.contacts(r.Contacts)
	}
	if r.Reaction != nil {
		kinds++
		m.Type, content.Emoji = gateway.TypeReaction, c.emoji(r.Reaction.Emoji)
	}
	if kinds > 1 {
		c.add(gateway.CodeInvalidBody, "", "a message is a text, a location, contacts or a reaction: one of them")
		return nil
	}
	if m.Type == gateway.TypeText {
		c.text(r.Text, true)
		content.LinkPreview = r.LinkPreview
	} else if r.LinkPreview {
		c.add(gateway.CodeInvalidBody, "/linkPreview", "only a text shows a preview of its link")
	}
	if r.Reaction != nil {
		if r.ReplyTo != "" {
			c.add(gateway.CodeInvalidBody, "/replyTo", "a reaction does not reply: reaction.messageId says what it is about")
			return nil
		}
		target, err := in.target(ctx, c, m, r.Reaction.MessageID, "/reaction/messageId")
		if err != nil {
			return err
		}
		content.Target = target
	}
	return in.relate(ctx, c, m, r.Relation, content)
}

// relate adds to m whom it mentions and what it replies to. Content that holds nothing is left out.
func (in *Intake) relate(ctx context.Context, c *checks, m *gateway.Message, r gateway.Relation, content gateway.Content) error {
	content.Mentions = c.mentions(r.Mentions, m.Text)
	if r.ReplyTo != "" {
		target, err := in.target(ctx, c, m, r.ReplyTo, "/replyTo")
		if err != nil {
			return err
		}
		content.Target = target
	}
	if content.Location != nil || content.Contacts != nil || content.Mentions != nil || content.Target != nil || content.LinkPreview {
		m.Content = &content
	}
	return nil
}

// target finds the message that m is about, nil when it is not one that m can be about, which c then tells. A message of our own must have been sent:
// phones know no other.
func (in *Intake) target(ctx context.Context, c *checks, m *gateway.Message, id, pointer string) (*gateway.Target, error) {
	old, err := in.Store.Message(ctx, m.TenantKey, id)
	switch {
	case errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}):
		return in.inboundTarget(ctx, c, m, id, pointer)
	case err != nil:
		return nil, fmt.Errorf("look up the message that is referred to: %w", err)
	case !sameChat(m.To, old.To, old.RecipientJID, old.RecipientLID):
		c.add(gateway.CodeInvalidBody, pointer, "that message went to another chat than to")
	case !wasSent(&old):
		return nil, notSent(&old)
	}
	return ownTarget(&old), nil
}

func ownTarget(old *gateway.Message) *gateway.Target {
	return &gateway.Target{MessageID: old.ID, StanzaID: old.WhatsAppID, FromMe: true, Type: old.Type, Text: cut(old.Text, gateway.MaxQuoteBytes)}
}

func (in *Intake) inboundTarget(ctx context.Context, c *checks, m *gateway.Message, id, pointer string) (*gateway.Target, error) {
	old, err := in.Store.Inbound(ctx, m.TenantKey, id)
	switch {
	case errors.Is(err, &gateway.Error{Code: gateway.CodeNotFound}):
		c.add(gateway.CodeInvalidBody, pointer, "there is no such message")
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up the message that is referred to: %w", err)
	case !sameChat(m.To, old.Chat) && (old.IsGroup() || !sameChat(m.To, old.Sender, old.SenderAlt)):
		c.add(gateway.CodeInvalidBody, pointer, "that message came in another chat than to")
		return nil, nil
	}
	target := old.Target()
	target.Text = cut(target.Text, gateway.MaxQuoteBytes)
	return target, nil
}

// sameChat tells whether to names the chat that one of names does.
func sameChat(to string, names ...string) bool {
	for _, name := range names {
		if name != "" && gateway.OptOutName(name) == gateway.OptOutName(to) {
			return true
		}
	}
	return false
}

func wasSent(m *gateway.Message) bool { return !m.SentAt.IsZero() || !m.DeliveredAt.IsZero() }

func notSent(m *gateway.Message) error {
	return gateway.Errorf(gateway.CodeTargetNotSent, "message %s is %s; only one that was sent can be referred to", m.ID, m.Status)
}

// Edit accepts another wording for a text or a caption that was sent. CodeNotFound, CodeTargetNotSent, CodeWindowClosed, CodeConflict.
func (in *Intake) Edit(ctx context.Context, tenant gateway.Tenant, id, text string, o gateway.SendOptions, idem *gateway.IdempotencyCompletion) (gateway.Message, error) {
	return in.change(ctx, tenant, id, gateway.TypeEdit, text, o, idem)
}

// Revoke accepts that a message that was sent is deleted for everyone. Errors as of Edit.
func (in *Intake) Revoke(ctx context.Context, tenant gateway.Tenant, id string, o gateway.SendOptions, idem *gateway.IdempotencyCompletion) (gateway.Message, error) {
	return in.change(ctx, tenant, id, gateway.TypeRevoke, "", o, idem)
}

func (in *Intake) change(ctx context.Context, tenant gateway.Tenant, id string, t gateway.MessageType, text string, o gateway.SendOptions,
	idem *gateway.IdempotencyCompletion,
) (gateway.Message, error) {
	old, err := in.Store.Message(ctx, tenant.Key, id)
	if err != nil {
		return gateway.Message{}, err
	}
	window := gateway.RevokeWindow
	switch {
	case old.Refers() != nil:
		return gateway.Message{}, gateway.Errorf(gateway.CodeConflict, "a message of type %s cannot be changed; it is the one that it is about that can", old.Type)
	case !wasSent(&old):
		return gateway.Message{}, notSent(&old)
	case t == gateway.TypeEdit && old.Type != gateway.TypeText && !old.Type.Captioned():
		return gateway.Message{}, gateway.Errorf(gateway.CodeConflict, "only texts and captions can be edited, this is of type %s", old.Type)
	case t == gateway.TypeEdit:
		window = gateway.EditWindow
	}
	var c checks
	m := in.message(&c, tenant, old.To, o, in.now())
	if t == gateway.TypeEdit {
		c.text(text, true)
	}
	if err := c.err(); err != nil {
		return gateway.Message{}, err
	}
	target := ownTarget(&old)
	target.Text, target.Until = "", sentAt(&old).Add(window)
	m.Type, m.Text, m.Content = t, text, &gateway.Content{Target: target}
	if err := withinWindow(m); err != nil {
		return gateway.Message{}, err
	}
	return in.accept(ctx, tenant, m, idem)
}

func sentAt(m *gateway.Message) time.Time {
	if m.SentAt.IsZero() {
		return m.DeliveredAt
	}
	return m.SentAt
}

// withinWindow lets a change of another message expire when phones do not take it any more. CodeWindowClosed when that is before it may go out.
func withinWindow(m *gateway.Message) error {
	target := m.Refers()
	if target == nil || target.Until.IsZero() {
		return nil
	}
	first := m.CreatedAt
	if m.SendAt.After(first) {
		first = m.SendAt
	}
	if !target.Until.After(first) {
		return gateway.Errorf(gateway.CodeWindowClosed, "WhatsApp took this change until %s", target.Until.UTC().Format(time.RFC3339))
	}
	if m.ExpiresAt.After(target.Until) {
		m.ExpiresAt = target.Until.UTC().Truncate(precision)
	}
	return nil
}

func (c *checks) location(l gateway.Location) *gateway.Location {
	if !(math.Abs(l.Latitude) <= 90) {
		c.add(gateway.CodeInvalidMessage, "/location/latitude", "latitude is in degrees, -90 to 90")
	}
	if !(math.Abs(l.Longitude) <= 180) {
		c.add(gateway.CodeInvalidMessage, "/location/longitude", "longitude is in degrees, -180 to 180")
	}
	c.words(l.Name, "/location/name", gateway.MaxPlaceBytes)
	c.words(l.Address, "/location/address", gateway.MaxPlaceBytes)
	return &l
}

// words checks a text that may be empty.
func (c *checks) words(s, pointer string, limit int) {
	switch {
	case len(s) > limit:
		c.add(gateway.CodeInvalidMessage, pointer, "%s is %d bytes long; %d are allowed", pointer, len(s), limit)
	case !utf8.ValidString(s):
		c.add(gateway.CodeInvalidMessage, pointer, "%s is not UTF-8", pointer)
	}
}

func (c *checks) contacts(given []gateway.Contact) []gateway.Contact {
	if len(given) == 0 || len(given) > gateway.MaxContacts {
		c.add(gateway.CodeInvalidMessage, "/contacts", "contacts holds 1 to %d of them", gateway.MaxContacts)
		return nil
	}
	list := make([]gateway.Contact, len(given))
	for i, contact := range given {
		pointer := fmt.Sprintf("/contacts/%d", i)
		if strings.TrimSpace(contact.Name) == "" {
			c.add(gateway.CodeInvalidMessage, pointer+"/name", "a contact needs a name")
		}
		c.words(contact.Name, pointer+"/name", gateway.MaxContactBytes)
		c.words(contact.Organization, pointer+"/organization", gateway.MaxContactBytes)
		c.words(contact.Email, pointer+"/email", gateway.MaxContactBytes)
		if len(contact.Phones) == 0 || len(contact.Phones) > gateway.MaxPhones {
			c.add(gateway.CodeInvalidMessage, pointer+"/phones", "a contact has 1 to %d phones", gateway.MaxPhones)
		}
		list[i] = contact
		list[i].Phones = nil
		for j, phone := range contact.Phones {
			list[i].Phones = append(list[i].Phones, c.number(phone, fmt.Sprintf("%s/phones/%d", pointer, j)))
		}
	}
	return list
}

func (c *checks) number(given, pointer string) string {
	number, err := ParseRecipient(given)
	if err == nil && gateway.IsJID(number) {
		err = errors.New("this must be a phone number")
	}
	if err != nil {
		c.add(gateway.CodeInvalidRecipient, pointer, "%s", err.Error())
	}
	return number
}

func (c *checks) emoji(s string) string {
	if len(s) > gateway.MaxEmojiBytes || !utf8.ValidString(s) || strings.ContainsAny(s, " \t\r\n") {
		c.add(gateway.CodeInvalidMessage, "/reaction/emoji", "emoji is one emoji, %d bytes at most, or empty", gateway.MaxEmojiBytes)
	}
	return s
}

// mentions are the numbers, each of which the text must name: a phone replaces the @digits by the name it knows.
func (c *checks) mentions(given []string, text string) []string {
	if len(given) > gateway.MaxMentions {
		c.add(gateway.CodeInvalidMessage, "/mentions", "a message mentions %d people at most", gateway.MaxMentions)
		return nil
	}
	var list []string
	for i, phone := range given {
		pointer := fmt.Sprintf("/mentions/%d", i)
		number := c.number(phone, pointer)
		if !strings.Contains(text, "@"+number) {
			c.add(gateway.CodeInvalidMessage, pointer, "the text does not name @%s", number)
		}
		list = append(list, number)
	}
	return list
}

// cut shortens s to at most limit bytes of whole characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}
