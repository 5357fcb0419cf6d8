package httpapi

import (
	"context"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
	"github.com/wapro/hub/internal/httpapi/strictjson"
)

// content reads one of the fields that say what a message holds in a text's stead. False: name is none of them.
func content(d *strictjson.Decoder, name string, req *gateway.TextRequest) (known bool, err error) {
	switch name {
	case "location":
		if null, err := d.Null(); err != nil || null {
			return true, err
		}
		req.Location, err = decodeLocation(d)
	case "contacts":
		if null, err := d.Null(); err != nil || null {
			return true, err
		}
		req.Contacts, err = decodeContacts(d)
	case "reaction":
		if null, err := d.Null(); err != nil || null {
			return true, err
		}
		req.Reaction, err = decodeReaction(d)
	case "linkPreview":
		return true, flag(d, &req.LinkPreview)
	default:
		return relation(d, name, &req.Relation)
	}
	return true, err
}

// relation reads one of the fields that say what texts and media refer to.
func relation(d *strictjson.Decoder, name string, to *gateway.Relation) (known bool, err error) {
	switch name {
	case "replyTo":
		return true, optional(d, &to.ReplyTo, maxID, gateway.CodeInvalidBody)
	case "mentions":
		if null, err := d.Null(); err != nil || null {
			return true, err
		}
		return true, d.Array(gateway.MaxMentions, func() error {
			var number string
			err := required(d, &number, maxRecipient, gateway.CodeInvalidRecipient)
			to.Mentions = append(to.Mentions, number)
			return err
		})
	}
	return false, nil
}

// flag reads a boolean that may be null, which is false.
func flag(d *strictjson.Decoder, to *bool) error {
	null, err := d.Null()
	if err == nil && !null {
		*to, err = d.Bool()
	}
	return err
}

func decodeLocation(d *strictjson.Decoder) (*gateway.Location, error) {
	l := &gateway.Location{}
	var latitude, longitude bool
	err := d.Object(func(name string) (err error) {
		switch name {
		case "latitude":
			latitude = true
			l.Latitude, err = d.Float()
			return err
		case "longitude":
			longitude = true
			l.Longitude, err = d.Float()
			return err
		case "name":
			return optional(d, &l.Name, gateway.MaxPlaceBytes, gateway.CodeInvalidMessage)
		case "address":
			return optional(d, &l.Address, gateway.MaxPlaceBytes, gateway.CodeInvalidMessage)
		}
		return d.UnknownField()
	})
	switch {
	case err != nil:
		return nil, err
	case !latitude:
		return nil, missing("/location/latitude")
	case !longitude:
		return nil, missing("/location/longitude")
	}
	return l, nil
}

func decodeContacts(d *strictjson.Decoder) ([]gateway.Contact, error) {
	list := []gateway.Contact{}
	err := d.Array(gateway.MaxContacts, func() error {
		c := gateway.Contact{}
		err := d.Object(func(name string) error {
			switch name {
			case "name":
				return required(d, &c.Name, gateway.MaxContactBytes, gateway.CodeInvalidMessage)
			case "organization":
				return optional(d, &c.Organization, gateway.MaxContactBytes, gateway.CodeInvalidMessage)
			case "email":
				return optional(d, &c.Email, gateway.MaxContactBytes, gateway.CodeInvalidMessage)
			case "phones":
				return d.Array(gateway.MaxPhones, func() error {
					var phone string
					err := required(d, &phone, maxRecipient, gateway.CodeInvalidRecipient)
					c.Phones = append(c.Phones, phone)
					return err
				})
			}
			return d.UnknownField()
		})
		list = append(list, c)
		return err
	})
	return list, err
}

func decodeReaction(d *strictjson.Decoder) (*gateway.ReactionRequest, error) {
	r := &gateway.ReactionRequest{}
	var emoji bool
	err := d.Object(func(name string) error {
		switch name {
		case "messageId":
			return required(d, &r.MessageID, maxID, gateway.CodeInvalidBody)
		case "emoji":
			emoji = true
			return required(d, &r.Emoji, gateway.MaxEmojiBytes, gateway.CodeInvalidMessage)
		}
		return d.UnknownField()
	})
	switch {
	case err != nil:
		return nil, err
	case r.MessageID == "":
		return nil, missing("/reaction/messageId")
	case !emoji:
		return nil, missing("/reaction/emoji")
	}
	return r, nil
}

// EditMessage accepts another wording for a text or a caption that was sent.
func (s *Server) EditMessage(c echo.Context, _ string, id string, _ spec.EditMessageParams) error {
	var text string
	var given bool
	var options gateway.SendOptions
	decode := func(d *strictjson.Decoder) error {
		if d == nil {
			return noBody()
		}
		err := d.Object(func(name string) error {
			if name == "message" {
				given = true
				return required(d, &text, gateway.MaxTextBytes, gateway.CodeInvalidMessage)
			}
			return option(d, name, &options)
		})
		if err == nil && !given {
			err = missing("/message")
		}
		return err
	}
	return s.post(c, decode, func(ctx context.Context, done *gateway.IdempotencyCompletion) (*answer, error) {
		return accept(done, func() (gateway.Message, error) { return s.intake.Edit(ctx, callOf(c).tenant, id, text, options, done) })
	})
}

// RevokeMessage accepts that a message that was sent is deleted for everyone.
func (s *Server) RevokeMessage(c echo.Context, _ string, id string, _ spec.RevokeMessageParams) error {
	var options gateway.SendOptions
	decode := func(d *strictjson.Decoder) error {
		if d == nil {
			return nil
		}
		return d.Object(func(name string) error { return option(d, name, &options) })
	}
	return s.post(c, decode, func(ctx context.Context, done *gateway.IdempotencyCompletion) (*answer, error) {
		return accept(done, func() (gateway.Message, error) { return s.intake.Revoke(ctx, callOf(c).tenant, id, options, done) })
	})
}

// showContent adds what m holds beside its text and its file.
func showContent(out *spec.Message, m *gateway.Message) {
	if m.Content == nil {
		return
	}
	if l := m.Content.Location; l != nil {
		out.Location = &spec.Location{Latitude: l.Latitude, Longitude: l.Longitude, Name: orNull(l.Name), Address: orNull(l.Address)}
	}
	if list := m.Content.Contacts; list != nil {
		out.Contacts = contactModels(list)
	}
	if mentions := m.Content.Mentions; mentions != nil {
		out.Mentions = &mentions
	}
	if m.Content.LinkPreview {
		out.LinkPreview = &m.Content.LinkPreview
	}
	if t := m.ReplyTo(); t != nil {
		out.ReplyTo = &t.MessageID
	}
	if t := m.Refers(); t != nil {
		switch m.Type {
		case gateway.TypeReaction:
			out.Reaction = &spec.Reaction{MessageId: t.MessageID, Emoji: m.Content.Emoji}
		case gateway.TypeEdit:
			out.EditOf = &t.MessageID
		default:
			out.RevokeOf = &t.MessageID
		}
	}
}

func contactModels(list []gateway.Contact) *[]spec.Contact {
	out := make([]spec.Contact, len(list))
	for i, c := range list {
		out[i] = spec.Contact{Name: c.Name, Phones: c.Phones, Organization: orNull(c.Organization), Email: orNull(c.Email)}
		if c.Phones == nil {
			out[i].Phones = []string{}
		}
	}
	return &out
}
