package intake_test

import (
	"errors"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// asSent makes a message that was accepted what it is some time after it was sent.
func (w *world) asSent(t *testing.T, id string, at time.Time) {
	t.Helper()
	_, err := w.store.Update(t.Context(), w.tenant.Key, id, nil, func(m *gateway.Message) ([]gateway.Event, error) {
		m.Status, m.Phase, m.SentAt = gateway.StatusSent, gateway.PhaseNone, at
		m.RecipientJID, m.RecipientLID = gateway.UserJID(m.To), "770077@lid"
		return nil, nil
	})
	must(t, err)
}

func TestChangesAreTakenWhileTheirWindowIsOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, err := w.text(gateway.TextRequest{To: "4915112345678", Text: "first"})
	must(t, err)
	_, err = w.Edit(t.Context(), w.tenant, old.ID, "second", gateway.SendOptions{}, nil)
	refused(t, err, gateway.CodeTargetNotSent)

	w.asSent(t, old.ID, w.now.Add(-gateway.EditWindow/2))
	edit, err := w.Edit(t.Context(), w.tenant, old.ID, "second", gateway.SendOptions{}, nil)
	must(t, err)
	if edit.Type != gateway.TypeEdit || edit.Text != "second" || edit.To != old.To || !edit.ExpiresAt.Equal(w.now.Add(gateway.EditWindow/2)) ||
		edit.Content.Target.StanzaID != old.WhatsAppID || !edit.Content.Target.FromMe || edit.WhatsAppID == old.WhatsAppID {
		t.Errorf("the edit is %+v of %+v", edit, edit.Content)
	}
	_, err = w.Edit(t.Context(), w.tenant, old.ID, " ", gateway.SendOptions{}, nil)
	refused(t, err, gateway.CodeInvalidMessage, "/message")
	_, err = w.Edit(t.Context(), w.tenant, old.ID, "too late", gateway.SendOptions{SendAt: w.now.Add(gateway.EditWindow)}, nil)
	refused(t, err, gateway.CodeWindowClosed)

	w.asSent(t, old.ID, w.now.Add(-gateway.EditWindow))
	_, err = w.Edit(t.Context(), w.tenant, old.ID, "third", gateway.SendOptions{}, nil)
	refused(t, err, gateway.CodeWindowClosed)
	revoke, err := w.Revoke(t.Context(), w.tenant, old.ID, gateway.SendOptions{}, nil)
	must(t, err)
	w.asSent(t, revoke.ID, w.now)
	_, err = w.Revoke(t.Context(), w.tenant, revoke.ID, gateway.SendOptions{}, nil)
	refused(t, err, gateway.CodeConflict)
	w.asSent(t, old.ID, w.now.Add(-gateway.RevokeWindow))
	_, err = w.Revoke(t.Context(), w.tenant, old.ID, gateway.SendOptions{}, nil)
	refused(t, err, gateway.CodeWindowClosed)
	_, err = w.Revoke(t.Context(), w.tenant, "none", gateway.SendOptions{}, nil)
	refused(t, err, gateway.CodeNotFound)
}

func TestOnlyMessagesOfTheChatCanBeReferredTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, err := w.text(gateway.TextRequest{To: "4915112345678", Text: "first"})
	must(t, err)
	reply := func(to, id string) error {
		_, err := w.text(gateway.TextRequest{To: to, Text: "yes", Relation: gateway.Relation{ReplyTo: id}})
		return err
	}
	refused(t, reply("4915112345678", old.ID), gateway.CodeTargetNotSent)
	w.asSent(t, old.ID, w.now)
	for _, to := range []string{"+49 151 12345678", "4915112345678@s.whatsapp.net", "770077@lid"} {
		if err := reply(to, old.ID); err != nil {
			t.Errorf("a reply to %s: %v", to, err)
		}
	}
	refused(t, reply("4915112345679", old.ID), gateway.CodeInvalidBody, "/replyTo")
	refused(t, reply("4915112345678", "none"), gateway.CodeInvalidBody, "/replyTo")
}

func TestWhatIsNoContentIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nan := 0.0
	nan /= nan
	contact := gateway.Contact{Name: "A", Phones: []string{"4915112345678"}}
	for name, c := range map[string]struct {
		request gateway.TextRequest
		pointer string
	}{
		"two kinds":           {gateway.TextRequest{Text: "x", Location: &gateway.Location{}}, ""},
		"north of the pole":   {gateway.TextRequest{Location: &gateway.Location{Latitude: 90.1}}, "/location/latitude"},
		"not a number":        {gateway.TextRequest{Location: &gateway.Location{Latitude: nan}}, "/location/latitude"},
		"beyond the date":     {gateway.TextRequest{Location: &gateway.Location{Longitude: -180.1}}, "/location/longitude"},
		"no contacts":         {gateway.TextRequest{Contacts: []gateway.Contact{}}, "/contacts"},
		"a nameless contact":  {gateway.TextRequest{Contacts: []gateway.Contact{{Phones: contact.Phones}}}, "/contacts/0/name"},
		"one without phones":  {gateway.TextRequest{Contacts: []gateway.Contact{contact, {Name: "B"}}}, "/contacts/1/phones"},
		"a phone that is not": {gateway.TextRequest{Contacts: []gateway.Contact{{Name: "B", Phones: []string{"1@lid"}}}}, "/contacts/0/phones/0"},
		"unnamed mention":     {gateway.TextRequest{Text: "hi @49151", Relation: gateway.Relation{Mentions: []string{"4915112345678"}}}, "/mentions/0"},
		"a reaction to none":  {gateway.TextRequest{Reaction: &gateway.ReactionRequest{MessageID: "none", Emoji: "x"}}, "/reaction/messageId"},
		"a long emoji":        {gateway.TextRequest{Reaction: &gateway.ReactionRequest{MessageID: "none", Emoji: "two words"}}, "/reaction/emoji"},
		"nothing":             {gateway.TextRequest{}, "/message"},
	} {
		c.request.To = "4915112345678"
		_, err := w.text(c.request)
		e, ok := errors.AsType[*gateway.Error](err)
		if !ok || len(e.Fields) == 0 || e.Fields[0].Pointer != c.pointer {
			t.Errorf("%s: %v", name, err)
		}
	}
}
