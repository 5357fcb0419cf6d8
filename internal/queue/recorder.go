package queue

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// recorder is a Redis client that takes down what asynq's Client would do instead of doing it, so that any number of
// tickets travel together and keep their order: asynq has no call for that. Only the two commands of
// an enqueue are taken down; any other reaches the nil client and panics, which the tests would show.
type recorder struct {
	redis.UniversalClient
	queues []any // to be registered
	evals  []recordedEval
}

type recordedEval struct {
	script string
	keys   []string
	args   []any
}

// SAdd is how asynq registers a queue.
func (r *recorder) SAdd(ctx context.Context, key string, members ...any) *redis.IntCmd {
	r.queues = append(r.queues, members...)
	cmd := redis.NewIntCmd(ctx, "sadd", key)
	cmd.SetVal(1)
	return cmd
}

// EvalSha sends the caller on to Eval, which has the text of the script.
func (r *recorder) EvalSha(ctx context.Context, sha string, _ []string, _ ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx, "evalsha", sha)
	cmd.SetErr(redis.ErrNoScript)
	return cmd
}

// Eval adds one ticket.
func (r *recorder) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	r.evals = append(r.evals, recordedEval{script, keys, args})
	cmd := redis.NewCmd(ctx, "eval")
	cmd.SetVal(int64(1))
	return cmd
}

// serverClient is what asynq's servers talk through: the shared client, but for the cancellation channel. Nobody
// cancels tasks through Redis here, and a subscription would cost each server a connection.
type serverClient struct {
	redis.UniversalClient
	nowhere *redis.Client
}

func newServerClient(shared redis.UniversalClient) redis.UniversalClient {
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Protocol: 2})
	nowhere.Close() //nolint:errcheck // a closed client dials nothing and fails at once
	return &serverClient{UniversalClient: shared, nowhere: nowhere}
}

// Subscribe gives a subscription that fails; asynq logs that, see asynqLog, and asks again every 5 s.
func (c *serverClient) Subscribe(ctx context.Context, channels ...string) *redis.PubSub {
	return c.nowhere.Subscribe(ctx, channels...)
}
