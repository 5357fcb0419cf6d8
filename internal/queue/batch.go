package queue

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/wapro/hub/internal/gateway"
)

// Adding a ticket takes asynq's Client longer than Redis, and Redis longer to begin a script than to run it. So of the tickets that go in
// one batch, asynq is asked about the first of each kind, the others are made from its answer, and asynq's script runs for all of them
// at once.

// uniqueID is the length from which on a message's id is taken to appear in what asynq makes of its ticket only where it is meant.
const uniqueID = 32

// form is what tickets have in common whose records differ in the id of the message alone.
type form struct {
	tenantKey int64
	lane      gateway.Priority
	length    int    // of the id
	suffix    string // of the task's id, behind that of the message
}

// formOf is the form of a ticket; ok is false for one that asynq must be asked about.
func formOf(ticket gateway.Ticket, taskID string) (f form, ok bool) {
	suffix, ok := strings.CutPrefix(taskID, ticket.MessageID)
	plain := !strings.ContainsFunc(ticket.MessageID, func(r rune) bool { // the payload holds it as it is
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	})
	return form{ticket.TenantKey, ticket.Lane, len(ticket.MessageID), suffix}, ok && plain && len(ticket.MessageID) >= uniqueID
}

// pattern is what asynq made of one ticket.
type pattern struct {
	messageID string
	recordedEval
}

// fill is what asynq would make of the ticket of another message.
func (p pattern) fill(messageID string) recordedEval {
	e := recordedEval{script: p.script, keys: make([]string, len(p.keys)), args: make([]any, len(p.args))}
	for i, key := range p.keys {
		e.keys[i] = strings.Replace(key, p.messageID, messageID, 1)
	}
	for i, arg := range p.args {
		switch v := arg.(type) {
		case string:
			e.args[i] = strings.Replace(v, p.messageID, messageID, 1)
		case []byte:
			e.args[i] = bytes.ReplaceAll(v, []byte(p.messageID), []byte(messageID)) // the task has its id and its payload
		default:
			e.args[i] = v
		}
	}
	return e
}

// batch is one script that does what all that was recorded would, in its order, and answers with the list of their answers.
func (r *recorder) batch() (script *redis.Script, keys []string, args []any, err error) {
	if len(r.evals) == 0 {
		return nil, nil, nil, errors.New("there is nothing to add")
	}
	first := r.evals[0]
	keys = make([]string, 0, len(r.evals)*len(first.keys))
	args = append(make([]any, 0, 2+len(r.evals)*len(first.args)), len(first.keys), len(first.args))
	for _, e := range r.evals {
		if e.script != first.script || len(e.keys) != len(first.keys) || len(e.args) != len(first.args) {
			return nil, nil, nil, errors.New("asynq adds the tickets of one batch in different ways")
		}
		keys, args = append(keys, e.keys...), append(args, e.args...)
	}
	return redis.NewScript(fmt.Sprintf(batchScript, first.script)), keys, args, nil
}

// batchScript runs the script that is put into it for each share of the keys and arguments; how long one is comes first.
const batchScript = `local function add(KEYS, ARGV)
%s
end
local nkeys, nargs, added = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
for i = 0, #KEYS / nkeys - 1 do
	local keys, args = {}, {}
	for k = 1, nkeys do keys[k] = KEYS[i * nkeys + k] end
	for a = 1, nargs do args[a] = ARGV[2 + i * nargs + a] end
	added[i + 1] = add(keys, args)
end
return added`
