"""Pictures outside of their jobs' rows, and who uses them: the tables."""

from datetime import datetime

from sqlalchemy import Boolean, Column, ForeignKey, Index, LargeBinary
from sqlmodel import Field, SQLModel

from models.tables.columns import Id, id_column, now_column


class Picture(SQLModel, table=True):
    """One picture of a tenant, however many of its jobs use it; deleted with its last use."""

    __tablename__ = "picture"
    #: A keyed hash of the tenant and the content: see `models.pictures`.
    id: str = Field(sa_column=id_column(primary_key=True))
    tenant: str = Field(sa_column=id_column(references="tenant.id"))
    #: The encrypted data URI, and its length before that.
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    bytes: int
    created_at: datetime | None = Field(default=None, sa_column=now_column())


class PictureUse(SQLModel, table=True):
    """A picture of a job's scene: one that its request contained, or one behind a link in it."""

    __tablename__ = "picture_use"
    __table_args__ = (Index("picture_use_by_picture", "picture"),)
    job: str = Field(sa_column=id_column(primary_key=True, references="job.id"))
    #: Its parameter: `image`, `last_image` or `reference_images[N]`, counted from 0.
    name: str = Field(sa_column=Column(Id, primary_key=True))
    #: No picture is deleted while it is used.
    picture: str = Field(sa_column=Column(Id, ForeignKey("picture.id"), nullable=False))
    #: Whether it was fetched, for a provider that takes no links: it is kept until it is sent.
    fetched: bool = Field(sa_column=Column(Boolean, nullable=False))
