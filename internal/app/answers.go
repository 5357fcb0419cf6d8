package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/session"
	"github.com/wapro/hub/internal/share"
)

// Questions is where the owner of a session finds what it is asked, and leaves its answers.
type Questions interface {
	Query(ctx context.Context, tenantKey int64, id string) (gateway.Query, error)
	AnswerQuery(ctx context.Context, q gateway.Query) error
	KeepNumberChecks(ctx context.Context, tenantKey int64, checks []gateway.NumberCheck) error
	Inbound(ctx context.Context, tenantKey int64, id string) (gateway.Inbound, error)
	KeepInboundFetched(ctx context.Context, tenantKey int64, id string) error
}

// asker is a client that can be asked; *wa.Client is one.
type asker interface {
	Numbers(ctx context.Context, numbers []string) ([]gateway.NumberCheck, error)
	Groups(ctx context.Context) ([]gateway.Group, error)
	Download(ctx context.Context, kind gateway.MessageType, m *gateway.InboundMedia, file *os.File) error
}

// answers answers questions to WhatsApp, some at a time, half of them of one tenant at most: a download takes minutes. It implements session.Queries.
type answers struct {
	hub   *Hub
	slots *share.Places
}

func newAnswers(h *Hub) answers {
	return answers{h, share.New(gateway.QueriesAtOnce, gateway.QueriesAtOnce/2)}
}

// answerTimeout bounds the writing of an answer.
const answerTimeout = 10 * time.Second

// Answer answers the question, if it is still there. What cannot be answered is told as the reason.
func (a answers) Answer(ctx context.Context, client session.Client, tenantKey int64, id string) {
	ctx, cancel := context.WithTimeout(ctx, gateway.MediaPatience)
	defer cancel()
	leave, err := a.slots.Wait(ctx, tenantKey)
	if err != nil {
		return // nobody waits for the answer any more
	}
	defer leave()
	q, err := a.hub.database.Query(ctx, tenantKey, id)
	if err == nil && !q.Answered.IsZero() {
		return
	}
	if err == nil {
		asked, _ := client.(asker) // nil: the session is not online
		q.Answer, err = a.ask(ctx, asked, q)
		q.Code, q.Detail = refusal(err)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
		defer cancel()
		if storeErr := a.hub.database.AnswerQuery(ctx, q); storeErr != nil {
			err = errors.Join(err, storeErr)
		}
	}
	if err != nil {
		a.hub.log.WarnContext(ctx, "a question to WhatsApp was not answered", "tenantKey", tenantKey, "kind", string(q.Kind), "error", err)
	}
}

func (a answers) ask(ctx context.Context, client asker, q gateway.Query) (string, error) {
	if client == nil {
		return "", gateway.Errorf(gateway.CodeSessionOffline, "the session is not online; GET .../session says why")
	}
	var answer any
	var err error
	switch q.Kind {
	case gateway.QueryNumbers:
		var numbers []string
		if err := json.Unmarshal([]byte(q.Question), &numbers); err != nil {
			return "", fmt.Errorf("read a question: %w", err)
		}
		var checks []gateway.NumberCheck
		if checks, err = client.Numbers(ctx, numbers); err == nil {
			err = a.hub.database.KeepNumberChecks(ctx, q.TenantKey, checks)
		}
		answer = checks
	case gateway.QueryGroups:
		answer, err = client.Groups(ctx)
	case gateway.QueryMedia:
		err = a.fetch(ctx, client, q)
	default:
		err = fmt.Errorf("a question of kind %q", q.Kind)
	}
	if err != nil || answer == nil {
		return "", err
	}
	written, err := json.Marshal(answer)
	return string(written), err
}

// fetch downloads the file of an inbound message into the blob store, where it stays for a day at least, and notes at the message that it did: the store's
// files are those of all tenants, and the hash is the sender's word until these very bytes were seen to have it.
func (a answers) fetch(ctx context.Context, client asker, q gateway.Query) (err error) {
	m, err := a.hub.database.Inbound(ctx, q.TenantKey, q.Question)
	if err != nil {
		return err
	}
	if m.Media == nil || m.Media.SHA256 == "" {
		return gateway.Errorf(gateway.CodeMediaExpired, "the message does not say where its file is")
	}
	media := *m.Media
	if media.Key, err = openMediaKey(a.hub.secrets, &m); err != nil {
		return fmt.Errorf("open the key of a file: %w", err)
	}
	file, err := os.CreateTemp(a.hub.blobs.Scratch(), "inbound-*")
	if err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	defer func() {
		err = errors.Join(err, file.Close(), os.Remove(file.Name()))
	}()
	if err := client.Download(ctx, m.Type, &media, file); err != nil {
		return err
	}
	if _, err := file.Seek(0, 0); err != nil {
		return fmt.Errorf("read a file again: %w", err)
	}
	blob, err := a.hub.blobs.Put(ctx, file)
	if err != nil {
		return fmt.Errorf("store a file: %w", err)
	}
	if blob.SHA256 != media.SHA256 {
		return gateway.Errorf(gateway.CodeMediaExpired, "what WhatsApp has is not the file that was sent; ask the sender to send it again")
	}
	return a.hub.database.KeepInboundFetched(ctx, q.TenantKey, m.ID)
}

// refusal is what the asker is told of err.
func refusal(err error) (gateway.Code, string) {
	if err == nil {
		return "", ""
	}
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return e.Code, e.Message
	}
	if e, ok := errors.AsType[*gateway.SendError](err); ok {
		switch {
		case e.Cause == gateway.CauseOffline:
			return gateway.CodeSessionOffline, "the session went offline; ask again when it is online"
		case e.Cause == gateway.CauseIQ && e.Server == 429:
			return gateway.CodeRateLimited, "WhatsApp takes no more questions for now"
		}
	}
	return gateway.CodeUnavailable, "WhatsApp did not answer; ask again later"
}
