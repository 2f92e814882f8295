package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// Bucket is a destination in S3, or in a service that speaks as it does. Where the bucket has object lock, backups are locked for
// as long as they shall be kept, in the mode of the bucket's own rule, or else governance.
type Bucket struct {
	client *s3.Client
	bucket string
	prefix string // "" or with a slash at its end
	part   int    // bytes of a part
}

// BucketAt says where a bucket is, and who asks.
type BucketAt struct {
	Bucket, Prefix, Region string
	Endpoint               string // of a service that isn't Amazon's
	PathStyle              bool   // the bucket's name stands in the path rather than in the host
	AccessKey, SecretKey   string // none: the machine's own
}

// partSize is what is held of an upload in memory. Ten thousand parts are the most: 160 GB.
const partSize = 16 << 20

// OpenBucket is a bucket that is there. Nothing is asked of it yet.
func OpenBucket(ctx context.Context, at BucketAt) (*Bucket, error) {
	options := []func(*config.LoadOptions) error{config.WithRetryMaxAttempts(3)}
	if at.Region != "" {
		options = append(options, config.WithRegion(at.Region))
	}
	if at.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(at.AccessKey, at.SecretKey, "")))
	}
	conf, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", at.Bucket, err)
	}
	if conf.Region == "" {
		conf.Region = "us-east-1" // services that aren't Amazon's have none, and a signature needs one
	}
	client := s3.NewFromConfig(conf, func(o *s3.Options) {
		o.UsePathStyle, o.DisableLogOutputChecksumValidationSkipped = at.PathStyle, true
		if at.Endpoint != "" {
			o.BaseEndpoint = &at.Endpoint
		}
	})
	b := &Bucket{client: client, bucket: at.Bucket, part: partSize}
	if prefix := strings.Trim(at.Prefix, "/"); prefix != "" {
		b.prefix = prefix + "/"
	}
	return b, nil
}

func (b *Bucket) key(name string) *string { return aws.String(b.prefix + name) }

// Put implements Destination. What fits into one part is put by one request.
func (b *Bucket) Put(ctx context.Context, name string, r io.Reader, until time.Time) error {
	mode, locks, err := b.lock(ctx)
	if err != nil {
		return b.explain(err)
	}
	part := make([]byte, b.part)
	n, err := io.ReadFull(r, part)
	switch {
	case err == nil:
		return b.explain(b.multipart(ctx, name, part, r, mode, lockedUntil(locks, until)))
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	}
	put := &s3.PutObjectInput{Bucket: &b.bucket, Key: b.key(name), Body: bytes.NewReader(part[:n]), IfNoneMatch: aws.String("*")}
	if at := lockedUntil(locks, until); at != nil {
		put.ObjectLockMode, put.ObjectLockRetainUntilDate = mode, at
	}
	_, err = b.client.PutObject(ctx, put)
	return b.explain(err)
}

func lockedUntil(locks bool, until time.Time) *time.Time {
	if !locks || !until.After(time.Now()) {
		return nil
	}
	return &until
}

// lock tells whether the bucket has object lock, and in which mode objects are locked.
func (b *Bucket) lock(ctx context.Context) (types.ObjectLockMode, bool, error) {
	out, err := b.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &b.bucket})
	switch {
	case code(err) == "ObjectLockConfigurationNotFoundError", code(err) == "NotImplemented", code(err) == "MethodNotAllowed":
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("look whether bucket %s locks objects: %w", b.bucket, err)
	}
	c := out.ObjectLockConfiguration
	if c == nil || c.ObjectLockEnabled != types.ObjectLockEnabledEnabled {
		return "", false, nil
	}
	mode := types.ObjectLockModeGovernance
	if c.Rule != nil && c.Rule.DefaultRetention != nil && c.Rule.DefaultRetention.Mode != "" {
		mode = types.ObjectLockMode(c.Rule.DefaultRetention.Mode)
	}
	return mode, true, nil
}

// multipart puts an object by parts: it is there when the last request is done, and not before.
func (b *Bucket) multipart(ctx context.Context, name string, part []byte, r io.Reader, mode types.ObjectLockMode, until *time.Time) (err error) {
	create := &s3.CreateMultipartUploadInput{Bucket: &b.bucket, Key: b.key(name), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32}
	if until != nil {
		create.ObjectLockMode, create.ObjectLockRetainUntilDate = mode, until
	}
	begun, err := b.client.CreateMultipartUpload(ctx, create)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil { // it may be the end of ctx
			short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			if _, aborted := b.client.AbortMultipartUpload(short, &s3.AbortMultipartUploadInput{Bucket: &b.bucket, Key: b.key(name), UploadId: begun.UploadId}); aborted != nil {
				err = errors.Join(err, fmt.Errorf("abort the upload: %w", aborted))
			}
		}
	}()
	var done []types.CompletedPart
	for n, number := len(part), int32(1); n > 0; number++ {
		out, err := b.client.UploadPart(ctx, &s3.UploadPartInput{Bucket: &b.bucket, Key: b.key(name), UploadId: begun.UploadId, PartNumber: &number, Body: bytes.NewReader(part[:n])})
		if err != nil {
			return err
		}
		done = append(done, types.CompletedPart{ETag: out.ETag, PartNumber: aws.Int32(number), ChecksumCRC32: out.ChecksumCRC32})
		if n, err = io.ReadFull(r, part); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
	}
	_, err = b.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &b.bucket, Key: b.key(name), UploadId: begun.UploadId,
		IfNoneMatch: aws.String("*"), MultipartUpload: &types.CompletedMultipartUpload{Parts: done}})
	if err != nil || until == nil {
		return err
	}
	return b.retain(ctx, name, mode, *until)
}

// retain locks an object where the service has forgotten that on the way from parts to a whole.
func (b *Bucket) retain(ctx context.Context, name string, mode types.ObjectLockMode, until time.Time) error {
	head, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: b.key(name)})
	if err != nil || head.ObjectLockRetainUntilDate != nil {
		return err
	}
	_, err = b.client.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{Bucket: &b.bucket, Key: b.key(name), VersionId: head.VersionId,
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionMode(mode), RetainUntilDate: &until}})
	return err
}

// Get implements Destination.
func (b *Bucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.bucket, Key: b.key(name)})
	if err != nil {
		return nil, b.explain(err)
	}
	return out.Body, nil
}

// List implements Destination.
func (b *Bucket) List(ctx context.Context, folder string) (names []string, err error) {
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: b.key(folder)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, b.explain(err)
		}
		for _, o := range page.Contents {
			names = append(names, strings.TrimPrefix(aws.ToString(o.Key), b.prefix))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Delete implements Destination. In a bucket that keeps versions, it is the version that goes: a mark would only hide it, and a
// lock is only told so.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	head, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: b.key(name)})
	if errors.Is(b.explain(err), fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return b.explain(err)
	}
	if until := head.ObjectLockRetainUntilDate; until != nil && until.After(time.Now()) || head.ObjectLockLegalHoldStatus == types.ObjectLockLegalHoldStatusOn {
		return ErrLocked
	}
	remove := &s3.DeleteObjectInput{Bucket: &b.bucket, Key: b.key(name)}
	if v := aws.ToString(head.VersionId); v != "" && v != "null" {
		remove.VersionId = head.VersionId
	}
	_, err = b.client.DeleteObject(ctx, remove)
	if remove.VersionId != nil && (code(err) == "AccessDenied" || code(err) == "ObjectLocked") {
		return fmt.Errorf("%w: %w", ErrLocked, err) // of who may not ask for the lock
	}
	return b.explain(err)
}

// Clean implements Destination.
func (b *Bucket) Clean(ctx context.Context, folder string) error {
	pages := s3.NewListMultipartUploadsPaginator(b.client, &s3.ListMultipartUploadsInput{Bucket: &b.bucket, Prefix: b.key(folder)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return b.explain(err)
		}
		for _, u := range page.Uploads {
			if !strings.HasPrefix(aws.ToString(u.Key), b.prefix+folder) {
				continue
			}
			if _, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.bucket, Key: u.Key, UploadId: u.UploadId}); err != nil && code(err) != "NoSuchUpload" {
				return b.explain(err)
			}
		}
	}
	return nil
}

// code is what S3 calls an error.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// explain says it in the words of Destination.
func (b *Bucket) explain(err error) error {
	var answer interface{ HTTPStatusCode() int }
	status := 0
	if errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
	}
	switch c := code(err); {
	case err == nil:
		return nil
	case c == "NoSuchBucket":
		return fmt.Errorf("there is no bucket %s: %w", b.bucket, err)
	case c == "NoSuchKey", c == "NotFound", status == http.StatusNotFound:
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case c == "PreconditionFailed", status == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", fs.ErrExist, err)
	}
	return fmt.Errorf("bucket %s: %w", b.bucket, err)
}
