select
    flight_date,
    {{ delay_measures() }}
from {{ ref('stg_flights') }}
group by flight_date
